"""KumoMTA's HTTP injection: the request, the messages that it makes, and queues that work through large ones."""
