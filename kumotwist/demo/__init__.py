"""The demonstration: the daemon between a stream of messages and stand-ins for the outside world."""
