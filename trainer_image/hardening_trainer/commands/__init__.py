"""The trainer's commands: a stage from its config to its result, and the ones over a file."""
