"""Values and contracts; imports nothing else of ours and no Twisted."""
