"""Generators: CRDs, API reference, metrics glossary, alert rules and dashboard, all made from code."""
