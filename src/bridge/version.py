"""The version both distributions share."""

VERSION = "0.1.0"
