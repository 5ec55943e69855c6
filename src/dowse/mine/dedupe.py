"""Step 1 of 7, mine: which pairs repeat others, told from 280 bytes of each.

Every mined row carries a fingerprint: a key of its query, of its function and of its code, the bands of its MinHash and
a short form of the MinHash itself. From those of all repositories `Fingerprints` tells copies and near-copies without
looking at any text, so a million pairs take 280 MB. datasketch makes the signatures; its own index is not used since it
keeps every row in a dictionary for each band. Reads and writes nothing.
"""

from __future__ import annotations

import re
import zlib
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dowse.errors import MissingExtraError

if TYPE_CHECKING:
    from datasketch import MinHash  # type: ignore[import-untyped]

N_PERMUTATIONS = 128
N_BANDS = 16
"""Of 8 values each: two functions that share 80 % of their shingles meet in a band with 95 % probability, two that
share half of them with 6 %. Of those that meet in a band each is compared with the one before it and with the first, so
in a crowd some are missed."""

NEAR = 0.8
"""Share of common shingles (Jaccard) from which on two functions are near-duplicates."""

SHINGLE = 4
"""Tokens in a row that make one shingle."""

FINGERPRINT_BYTES = 3 * 8 + N_BANDS * 8 + N_PERMUTATIONS

_TOKEN = re.compile(r"\w+|[^\w\s]")
_CHUNK = 1 << 16
"""Candidate pairs compared at once."""


def same_question(query: str) -> str:
    """Return what two queries share if they ask the same: case and white space aside.

    >>> same_question("Find  the FILE") == same_question("find the file")
    True
    """
    return " ".join(query.casefold().split())


def fingerprint(query: str, owner: str, code_hash: str, code: str) -> bytes:
    """Return the fixed-size fingerprint of a row.

    Args:
        owner: What tells the function from all others: repository, path and symbol.
        code_hash: Of the normalised code.
        code: The function without comments.
    """
    keys = _key(same_question(query)) + _key(owner) + bytes.fromhex(code_hash)[:8]
    values = _min_hash(code)
    bands = values.reshape(N_BANDS, -1)
    hashed = b"".join(blake2b(band.tobytes(), digest_size=8).digest() for band in bands)
    return keys + hashed + values.astype(np.uint8).tobytes()


class Fingerprints:
    """The fingerprints of N rows, by part."""

    def __init__(self, rows: bytes) -> None:
        """Take N fingerprints one after the other."""
        table = np.frombuffer(rows, np.uint8).reshape(-1, FINGERPRINT_BYTES)
        keys = np.ascontiguousarray(table[:, :24]).view(np.uint64)
        self.query, self.owner, self.code = keys[:, 0], keys[:, 1], keys[:, 2]
        self._bands = table[:, 24 : 24 + N_BANDS * 8]
        self._values = table[:, 24 + N_BANDS * 8 :]

    def __len__(self) -> int:
        return len(self.query)

    def repeated_pairs(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mark rows whose query and function an earlier kept row has, shape (N,)."""
        both = self.query * np.uint64(0x9E3779B97F4A7C15) ^ self.owner
        return self._repeats(both, kept)

    def repeated_code(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mark rows whose code an earlier kept row of another function has, shape (N,)."""
        rows = np.flatnonzero(kept)
        _, first, inverse = np.unique(self.code[rows], return_index=True, return_inverse=True)
        marked = np.zeros(len(self), bool)
        marked[rows] = self.owner[rows] != self.owner[rows[first[inverse]]]
        return marked

    def near_copies(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mark rows whose code is nearly that of an earlier kept row of another function, shape (N,).

        Rows that are alike are linked; of a group of linked rows the first function stays.
        """
        rows = np.flatnonzero(kept)
        group = np.arange(len(self))
        for band in range(N_BANDS):
            values = np.ascontiguousarray(self._bands[rows, band * 8 : band * 8 + 8]).view(np.uint64)[:, 0]
            order = np.argsort(values, kind="stable")
            ordered = values[order]
            same = np.flatnonzero(ordered[1:] == ordered[:-1])
            begins = np.r_[True, ordered[1:] != ordered[:-1]]
            leaders = np.flatnonzero(begins)[np.cumsum(begins) - 1]
            later = rows[order[same + 1]]
            for earlier in (rows[order[same]], rows[order[leaders[same + 1]]]):
                link(group, *self._alike(earlier, later))
        root = roots(group)
        marked = np.zeros(len(self), bool)
        marked[rows] = self.owner[rows] != self.owner[root[rows]]
        return marked

    def beyond(self, kept: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
        """Mark rows whose query at least `most` earlier kept rows have already, shape (N,)."""
        rows = np.flatnonzero(kept)
        order = np.argsort(self.query[rows], kind="stable")
        ordered = self.query[rows][order]
        begins = np.r_[True, ordered[1:] != ordered[:-1]] if len(rows) else np.zeros(0, bool)
        starts = np.flatnonzero(begins)[np.cumsum(begins) - 1]
        marked = np.zeros(len(self), bool)
        marked[rows[order]] = np.arange(len(rows)) - starts >= most
        return marked

    def _repeats(self, keys: NDArray[np.uint64], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        rows = np.flatnonzero(kept)
        _, first = np.unique(keys[rows], return_index=True)
        marked = kept.copy()
        marked[rows[first]] = False
        return marked

    def _alike(self, left: NDArray[np.intp], right: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return those of some candidates that are nearly the same by their whole signature.

        Two different values agree in their lowest byte once in 256 times, which the estimate takes off.
        """
        least = (NEAR * 255 + 1) / 256 * N_PERMUTATIONS
        alike = [
            (self._values[left[at : at + _CHUNK]] == self._values[right[at : at + _CHUNK]]).sum(axis=1) >= least
            for at in range(0, len(left), _CHUNK)
        ]
        chosen = np.concatenate(alike) if alike else np.zeros(0, bool)
        return left[chosen], right[chosen]


def link(group: NDArray[np.intp], left: NDArray[np.intp], right: NDArray[np.intp]) -> None:
    """Join the groups of linked rows, in place: `group` leads every row, by steps, to the lowest of its group."""
    for one, other in zip(left.tolist(), right.tolist(), strict=True):
        first, second = _find(group, one), _find(group, other)
        group[max(first, second)] = min(first, second)


def _find(group: NDArray[np.intp], row: int) -> int:
    while (above := int(group[row])) != row:
        group[row] = group[above]
        row = above
    return row


def roots(group: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the lowest row of each row's group, shape (N,)."""
    while not np.array_equal(above := group[group], group):
        group = above
    return group


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def _min_hash(code: str) -> NDArray[np.uint32]:
    """Return the MinHash of the shingles of a function, uint32, shape (N_PERMUTATIONS,)."""
    tokens = _TOKEN.findall(code)
    count = max(len(tokens) - SHINGLE + 1, 1)
    shingles = {" ".join(tokens[at : at + SHINGLE]).encode("utf-8", "replace") for at in range(count)}
    empty = _empty().copy()
    empty.update_batch(shingles)
    values: NDArray[np.uint32] = np.asarray(empty.hashvalues).astype(np.uint32)
    return values


@cache
def _empty() -> MinHash:
    try:
        from datasketch import MinHash
    except ImportError as error:
        raise MissingExtraError("dowse mine", "data") from error
    return MinHash(N_PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
