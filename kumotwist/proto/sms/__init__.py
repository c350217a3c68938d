"""Text messages: alphabets, codings and segments, without I/O."""
