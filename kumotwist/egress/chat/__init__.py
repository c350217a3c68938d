"""Channels for chats, one module each."""
