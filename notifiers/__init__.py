"""Compose messages and deliver them."""
