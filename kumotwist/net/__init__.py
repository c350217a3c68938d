"""Twisted at arm's length: clock, threads, TLS, HTTP, DNS."""
