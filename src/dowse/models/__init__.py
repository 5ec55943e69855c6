"""Models that several steps share: encoders, rankers, BM25, endpoints and their kept answers; this imports none."""
