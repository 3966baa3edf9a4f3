"""Prometheus metrics: series read from resource status at every scrape, and the process's own instruments."""
