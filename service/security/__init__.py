"""Who may call, and over which connection: tokens, TLS, and warnings about an exposed configuration."""
