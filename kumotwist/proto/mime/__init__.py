"""Message headers and MIME parts on bytes."""
