"""The `hardening` command: one module a command, registered in `main`."""
