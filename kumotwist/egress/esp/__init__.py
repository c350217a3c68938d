"""E-mail providers by their HTTP APIs, one file a provider."""
