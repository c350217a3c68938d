"""Trying things out without sending anything: what a route table would have done."""
