"""Durable messages: what was acknowledged is on disk."""
