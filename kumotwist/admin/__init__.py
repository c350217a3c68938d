"""The HTTP API for operators, one resource a file."""
