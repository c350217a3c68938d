"""When and how fast; knows no protocol by name."""
