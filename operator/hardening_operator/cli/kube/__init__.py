"""What the command line knows of a cluster: where it is, how to ask it, and its refusals in words."""
