"""Stores of every kind for tests: a real S3 server on loopback, files with known documents, writers.

As a script (`python stores.py KIND PLACE REPOSITORY GENERATION STEPS`) it writes files step by step, says each step
that was acknowledged, and goes on until it is done or killed.
"""

import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dowse.index import lance_table
from dowse.index.dense import pack
from dowse.index.documents import Span
from dowse.index.lance import LanceStore
from dowse.index.local import LocalStore
from dowse.index.scan import Stat
from dowse.index.store import IndexedFile
from dowse.languages.identifiers import words
from dowse.languages.terms import stemmed

DIMENSIONS = 16
KINDS = ("function", "method", "class", "block")
WAIT_S = 300
"""For another writer: a busy machine may be slow."""


@contextmanager
def s3_server():
    """Run an S3 server and give the environment by which it is reached, and the address of an empty bucket."""
    import requests
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        requests.put(f"{endpoint}/bucket", timeout=WAIT_S).raise_for_status()
        keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
        yield {**keys, "AWS_ENDPOINT": endpoint, "AWS_ALLOW_HTTP": "true"}, "s3://bucket"
    finally:
        server.stop()


def open_kind(kind, place, repository="project"):
    """Open a store of a kind, made if it is missing; each call gives another one."""
    if kind == "local":
        return LocalStore(Path(place) / repository, repository)
    address = {"lance": f"lance:{place}", "s3": place}[kind]
    return LanceStore(lance_table.Table(address, DIMENSIONS), [repository])


def file(path, *texts, seed=0, language="python", kinds=KINDS):
    """A file whose documents are one line each, with embeddings drawn at random."""
    rows = np.random.default_rng([seed, *path.encode()]).normal(size=(len(texts), DIMENSIONS)).astype(np.float32)
    spans = [Span(line, line, f"name{line}", kinds[line % len(kinds)]) for line in range(1, len(texts) + 1)]
    bodies = [stemmed(words(text)) for text in texts]
    return IndexedFile(path, Stat(len(path), 1, 1, seed), f"{seed}", language, None, spans, texts, bodies, pack(rows))


def put(store, *files, removed=()):
    """Write files and remove others, each in a step of its own."""
    with store.writing(WAIT_S) as writer:
        if files:
            writer.apply(files)
        writer.finish({"fingerprint": "model"}, removed)


def write_steps(store, generation, steps):
    """Put the same few files again and again, three documents each that say which writer and which step."""
    for step in range(steps):
        said = f"writer{generation} step{step}"
        with store.writing(WAIT_S) as writer:
            writer.apply([file(f"f{step % 4}.py", *(f"shared {said} part{part}" for part in range(3)), seed=step)])
        print(step, flush=True)


if __name__ == "__main__":
    kind, place, repository, generation, steps = sys.argv[1:]
    lance_table.COMMIT_WAIT_S = WAIT_S
    write_steps(open_kind(kind, place, repository), generation, int(steps))
