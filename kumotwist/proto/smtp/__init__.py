"""SMTP as pure state machines, for both sides."""
