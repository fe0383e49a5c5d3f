"""Telemetry of the server: metrics, logs and traces."""
