"""Receipts: what was handed over, what providers say of it later, and how the two are brought together."""
