"""What providers report and how they prove that it is they: pure functions over raw bytes, one module a provider."""
