"""Chat templates, sampling, log-probabilities, and clients of served models."""
