"""Step 5 of 7, index: files → documents → a store that remembers their words and embeddings."""

import os

os.environ.setdefault("LANCE_LOG", "error")  # read when Lance is loaded; it warns of index parts that stay empty
