"""What this trainer changes in other libraries while it runs: one module a library.

Each says what the library does in the versions seen, why that will not do here, and when the change can go.
"""
