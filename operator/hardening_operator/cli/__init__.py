"""The `hardening` program."""
