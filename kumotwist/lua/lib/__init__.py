"""The host's half of the kumo module, one namespace a file."""
