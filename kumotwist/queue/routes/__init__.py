"""The choice among routes: whose turn it is, what has been delivered lately, and how sure we are of it. No I/O."""
