"""Options: declared once, used as objects, error messages, reference and editor stubs."""
