"""The policy's world; the only importer of lupa."""
