"""Security of connections and calls: tokens, TLS, allowed hosts, and warnings about an exposed configuration."""
