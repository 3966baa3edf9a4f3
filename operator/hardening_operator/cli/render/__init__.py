"""What a person sees in the terminal: the status page, the live view and the lines about events."""
