"""kumotwist: a multi-protocol message handler whose decisions are made in Lua."""
