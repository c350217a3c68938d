"""Mail by SMTP: a connection, its conversation and its transactions."""
