"""The service under a real Prometheus: what it is told, and whether what is drawn and alerted on is there."""
