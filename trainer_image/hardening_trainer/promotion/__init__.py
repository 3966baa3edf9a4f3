"""Promotion: a candidate's checkpoint is copied, described and attested; only then the pointer moves."""
