"""Step 7 of 7, serve: the front doors. None of them holds retrieval logic."""
