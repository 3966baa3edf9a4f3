"""The tests; a package so that each can say `from tests.support...`."""
