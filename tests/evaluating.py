"""Small real encoders and rankers whose order depends on the words, and tasks to try them on."""

import zlib

import numpy as np

from dowse.evaluate.tasks import Task, bare
from dowse.languages.identifiers import parts, words


class WordEncoder:
    """Counts words in buckets: texts that share words are near. Keeps count of what it embeds."""

    dimensions = 64

    def __init__(self, fingerprint="words-1"):
        self.fingerprint = fingerprint
        self.embedded = 0

    def encode_documents(self, texts):
        self.embedded += len(texts)
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in words(text):
                for part in parts(word):
                    row[zlib.crc32(part.encode()) % self.dimensions] += 1
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

    encode_queries = encode_documents


class LetterRanker:
    """Scores a document by the share of the query's words that it has, whole."""

    fingerprint = "letters-1"

    def score(self, query, texts):
        asked = set(query.lower().split())
        return np.array([len(asked & set(text.lower().split())) / len(asked) for text in texts], np.float32)


CODES = {
    "upload": "def retry_upload(path): session put path again after failure",
    "date": "def parse_date(text): split the date into day month year",
    "sort": "def sort_users(users): return sorted users by name",
    "merge": "def merge_tables(left, right): join rows of both tables",
    "close": "def close_socket(socket): shut the socket and forget it",
}
QUERIES = {
    "q1": ("retry a failed upload", "upload"),
    "q2": ("parse a date", "date"),
    "q3": ("sort users by name", "sort"),
    "q4": ("join two tables", "merge"),
}


def small_task(**others):
    """Four questions about five functions."""
    found = {
        "name": "small",
        "queries": {key: text for key, (text, _) in QUERIES.items()},
        "corpus": {key: bare(code, "python") for key, code in CODES.items()},
        "qrels": {key: {answer: 1} for key, (_, answer) in QUERIES.items()},
        "languages": {"q1": "python", "q2": "python", "q3": "go", "q4": "go"},
        "categories": {"q1": "semantic", "q2": "semantic", "q3": "symbol", "q4": "symbol"},
    }
    return Task(**found | others)


def bare_task(qrels, documents=(), **others):
    """A task of ids alone, for what is done with a run."""
    known = sorted({key for judged in qrels.values() for key in judged} | set(documents))
    corpus = {key: bare(f"code {key}", "python") for key in known}
    return Task("bare", {key: f"query {key}" for key in qrels}, corpus, qrels, **others)
