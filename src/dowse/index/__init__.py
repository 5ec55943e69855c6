"""Step 5 of 7, index: files → documents → a store that remembers their words and embeddings."""

import os

# Lance reads this once, when it is loaded, be it by whoever uses Dowse: so it is set before any module here can load
# it, for the whole process, and never against what the user has set.
os.environ.setdefault("LANCE_LOG", "error")  # it warns of index parts that stay empty
