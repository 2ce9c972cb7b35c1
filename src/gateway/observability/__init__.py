"""Logs and metrics: they observe, and nothing depends on them."""
