"""Step 3 of 7, train: pairs → models."""
