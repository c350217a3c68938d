"""Channels for text messages, one module or package each."""
