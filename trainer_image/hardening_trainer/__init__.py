"""The stages of a hardening run: attack, score, train, evaluate, promote."""
