"""Step 1 of 7, mine: source code → (query, document) pairs to train on."""
