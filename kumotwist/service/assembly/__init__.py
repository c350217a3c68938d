"""The parts of a worker, one group a file; `service.worker` says in which order they are made and closed."""
