"""The attacker: templates, sampled variants, and the pairs chosen from them."""
