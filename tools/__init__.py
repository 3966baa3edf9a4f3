"""Programs for developers: they are part of no wheel and no image."""
