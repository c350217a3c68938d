"""Signatures that providers ask for and give."""
