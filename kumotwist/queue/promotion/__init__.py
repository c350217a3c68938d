"""From due to a place in a ready queue, or back with a reason."""
