"""Wire formats and state machines without I/O: bytes in, events out."""
