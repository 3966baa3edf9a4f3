"""Pure decisions: what a run or a monitor does next. No I/O, no clock, no randomness; import-linter checks it."""
