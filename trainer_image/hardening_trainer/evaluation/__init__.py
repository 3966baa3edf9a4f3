"""Evaluation: base and candidate answer the same held-out prompts, judges read the answers, sums are taken."""
