"""A fallback across channels: what comes next for a message, and the doing of it."""
