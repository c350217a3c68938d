"""The HTTP listener: its site, who may do what, and TLS."""
