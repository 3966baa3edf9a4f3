"""What every stage runs in: command line, config, inputs, progress, signals, and resuming after a stop."""
