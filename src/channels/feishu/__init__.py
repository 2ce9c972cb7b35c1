"""Feishu: long connection or webhook, cards that stream."""
