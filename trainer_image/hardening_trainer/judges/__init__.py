"""The judges: who says whether an answer is harmful."""
