"""Key sources turned into bytes: files, environment, policy events, Vault."""
