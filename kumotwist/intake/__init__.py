"""The ways in: bytes become messages, messages become durable."""
