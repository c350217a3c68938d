"""One neutral message for any kind of address: the request, its places in envelopes, the messages, the answer."""
