"""Step 7 of 7, serve: answers as text for agents, short enough for the budget of tokens they name.

A budget is spent from the top: every hit's place first, since a place is enough to read on from, then their code, best
hits first, each getting an even share of what is left, or enough to tell what it is. What is cut says how to get it.
Where nobody said how many hits, as many follow by their place alone as a fifth of the budget holds: what an agent looks
for is seldom below the first eight hits, and then a line that names it saves asking again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dowse.serve.display import freshness, visible

BODY_TOKENS = 60
"""Of a hit's code at least, as long as there is anything left: a signature, and what it says about itself."""

N_WITH_CODE = 8
"""Hits shown with their code unless a number is asked for."""

PLACE_TOKENS = 25
"""What the line of a place takes."""

_PIECES = re.compile(
    r"(?P<word>[A-Z]?[a-z]+|[A-Z]+(?![a-z]))|(?P<digits>\d+)|(?P<marks>[^\w\s]+)|(?P<line>\n\s*)|(?P<other>\S)"
)
_CHARS_A_TOKEN = {"word": 6, "digits": 3, "marks": 2, "line": 1_000, "other": 1}


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a language model sees in a text, rather too many than too few.

    Every model counts with a vocabulary of its own; what they share is counted here: a short word, three digits, two
    marks or a line break with its indentation is one.

    >>> estimated_tokens("def retry_upload(path):\\n    return path")
    10
    """
    return sum(
        math.ceil(len(piece[0]) / _CHARS_A_TOKEN[piece.lastgroup or "other"]) for piece in _PIECES.finditer(text)
    )


def n_hits(budget_tokens: int) -> int:
    """Return how many hits an answer holds that was not asked for a number: those with code, and a fifth for places."""
    return N_WITH_CODE + budget_tokens // (5 * PLACE_TOKENS)


def hits_text(answer: Mapping[str, Any], budget_tokens: int, n_with_code: int | None = None) -> str:
    """Return the hits of a search with as much of their code as fits.

    Args:
        answer: what `View.search` returns.
        budget_tokens: about how long the text may be.
        n_with_code: how many hits may show code, the others being named in a line each; all where None.
    """
    hits = answer["hits"]
    said = _counted(len(hits), "hit") if hits else "no hits; use other words, fewer filters or other repositories"
    head = f"{said} in {answer['index']['documents']:,} documents, {freshness(answer['index'])}"
    if answer.get("is_instant"):
        head += "; in the first, quick order, as the later stages are busy: ask again for a better one"
    left = budget_tokens - estimated_tokens(head)
    places: list[str] = []
    for number, hit in enumerate(hits, 1):
        about = " ".join(filter(None, [hit["kind"], hit["symbol"]]))
        if "probability" in hit:
            about += f", answers with {hit['probability']:.0%}"
        where = f"{hit['repository']}: {hit['path']}:{hit['start_line']}-{hit['end_line']}"
        place = visible(f"{number}. {where} {about}")
        cost = estimated_tokens(place) + 2
        if places and cost > left:
            break
        places.append(place)
        left -= cost
    parts = [head]
    shown = places[:n_with_code]
    for number, (place, hit) in enumerate(zip(shown, hits, strict=False)):
        share = max(left // (len(shown) - number), min(left, BODY_TOKENS))
        body = cut_text(hit["text"], share, "")
        left -= estimated_tokens(body)
        rest = hit["text"].count("\n") + 1 - (body.count("\n") + 1 if body else 0)
        cut = f"\n… {_counted(rest, 'more line')} from {hit['end_line'] - rest + 1}" if rest else ""
        parts.append(f"{place}\n{body}{cut}" if body else place)
    parts += ["\n".join(places[len(shown) :])] if len(shown) < len(places) else []
    if len(places) < len(hits):
        parts.append(f"… {_counted(len(hits) - len(places), 'more hit')}; raise budget_tokens to see them")
    return "\n\n".join(parts)


def document_text(document: Mapping[str, Any], budget_tokens: int) -> str:
    """Return lines of a file, or as many of them as fit and where to go on."""
    lines = document["text"].count("\n") + 1
    last = document["first_line"] + lines - 1
    place = visible(f"{document['repository']}: {document['path']}:{document['first_line']}-{last}")
    head = f"{place} of {document['total_lines']} lines, {document['language']}"
    if not document["as_indexed"]:
        head += ", changed since it was indexed"
    left = budget_tokens - estimated_tokens(head)
    going_on = "… cut here; read on with start_line={next} or raise budget_tokens"
    return f"{head}\n{cut_text(document['text'], left, going_on, document['first_line'])}"


def status_text(repositories: Sequence[Mapping[str, Any]]) -> str:
    """Return how each repository stands, a line or two each."""
    parts = []
    for one in repositories:
        languages = ", ".join(f"{name} {count:,}" for name, count in list(one["languages"].items())[:6])
        parts.append(f"{one['name']}: {one['documents']:,} documents of {one['files']:,} files ({languages or 'none'})")
        progress = one["progress"]
        at = f", {progress['done']:,} of {progress['total']:,} files done" if progress["total"] else ""
        note = f": {one['note']}" if one["note"] and one["state"] != "indexing" else ""
        fresh = "up to date" if one["fresh"] else "behind"
        ahead = one["embedded"]
        if ahead is not None and ahead["done"] < ahead["total"]:
            at += f", {ahead['done']:,} of {ahead['total']:,} documents embedded by the retriever"
        parts.append(f"  {one['state']}{at}, {fresh}{note}; {one['path']}")
    return visible("\n".join(parts)) or "no repository is served"


def cut_text(text: str, budget_tokens: int, going_on: str, first_line: int = 1) -> str:
    """Return the first lines of a text that fit, and then `going_on` with {next} the first line left out.

    Where it says how to go on, there is at least some of the first line: who reads on would come there again.
    """
    lines = text.split("\n")
    kept, left = 0, budget_tokens
    for line in lines:
        left -= estimated_tokens(line) + 1
        if left < 0:
            break
        kept += 1
    shown = lines[:kept]
    if not kept and going_on:
        shown, kept = [_cut_line(lines[0], max(budget_tokens, BODY_TOKENS))], 1
    if kept < len(lines) and going_on:
        shown.append(going_on.format(next=first_line + kept))
    return "\n".join(shown)


def _cut_line(line: str, budget_tokens: int) -> str:
    """Return about as much of a line as fits."""
    cost = estimated_tokens(line)
    if cost <= budget_tokens:
        return line
    return line[: len(line) * budget_tokens // cost] + "\n… this line is longer; raise budget_tokens to see all of it"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
