"""Models that turn text into embeddings; shared by several steps, and importing this loads none of them."""
