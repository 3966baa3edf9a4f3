"""Whole runs with local processes."""
