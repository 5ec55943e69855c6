"""Step 5 of 7, index: files → documents → a store that remembers their words and embeddings."""
