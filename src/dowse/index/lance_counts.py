"""Step 5 of 7, index: how much a Lance table holds of each repository, in two looks whatever their number.

A server of many stored repositories says with every answer how much of each is indexed: asked one by one, each of them
would cost requests of its own at every version.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from dowse.index.lance_table import FILE, HEAD, Table, quoted
from dowse.index.scan import Tree
from dowse.index.store import tally


def counted_by_repository(table: Table) -> dict[str, dict[str, Any]]:
    """Return what `Store.counted` does of every repository, by name."""
    rows = table.scan(["repository", "language", "skipped", "n_documents"], f"kind = {quoted(FILE)}")
    grouped = rows.group_by(["repository", "language", "skipped"])
    kinds: dict[str, list[tuple[str, str | None, int]]] = defaultdict(list)
    documents: dict[str, int] = defaultdict(int)
    for kind in grouped.aggregate([("n_documents", "sum"), ([], "count_all")]).to_pylist():
        kinds[kind["repository"]].append((kind["language"], kind["skipped"], kind["count_all"]))
        documents[kind["repository"]] += kind["n_documents_sum"] or 0
    found = {}
    for head in table.scan(["repository", "text"], f"kind = {quoted(HEAD)}").to_pylist():
        if name := head["repository"]:
            meta = json.loads(head["text"]) if head["text"] else {}
            tree = Tree.unpacked(meta["tree"], {}) if "tree" in meta else None
            found[name] = tally(documents[name], kinds[name], tree)
    return found
