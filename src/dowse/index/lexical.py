"""Step 5 of 7, index: the words of documents → an inverted index ranked by BM25.

Reads the text, symbol and path of each document; writes a tantivy index in its own folder. Tantivy scores, merges,
deletes and survives a kill; ours is only what a term is (`dowse.languages.terms`). Left out: everything else that is
known of a document (`local` remembers it); document ids tie the two.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray

WRITER_BYTES = 64_000_000
"""Memory tantivy may fill before it writes a segment. One thread writes: documents, and so ties, keep their order."""

FIELDS = ("body", "symbol", "path")

_BY_SPACES = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
"""All that is left for the engine to do with words that are terms already."""


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("document", fast=True)
    builder.add_unsigned_field("file", indexed=True)
    builder.add_text_field("kind", tokenizer_name="raw", index_option="basic")
    for name in FIELDS:
        builder.add_text_field(name, tokenizer_name="terms", index_option="freq")
    return builder.build()


def _mirror(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a folder of links to an index that may not be written: tantivy writes a lock file even to read."""
    mirror = tempfile.TemporaryDirectory(prefix="dowse-", ignore_cleanup_errors=True)
    for part in folder.iterdir():
        (Path(mirror.name) / part.name).symlink_to(part.absolute())
    (Path(mirror.name) / ".tantivy-meta.lock").unlink(missing_ok=True)
    return mirror


class LexicalIndex:
    """BM25 over three fields of every document: its body, the symbols it defines, and the words of its path."""

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`, made if it is missing.

        Raises:
            ValueError: what lies there is not an index of this schema (tantivy's own error).
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._schema = _schema()
        self._mirror = None if os.access(folder, os.W_OK) else _mirror(folder)
        where = folder if self._mirror is None else self._mirror.name
        self._index = tantivy.Index(self._schema, path=str(where), reuse=True)
        self._index.register_tokenizer("terms", _BY_SPACES)
        self._index.config_reader("manual")
        self._writer: tantivy.IndexWriter | None = None
        self.reload()

    def reload(self) -> None:
        """See what has been committed since."""
        self._index.reload()
        self._searcher = self._index.searcher()

    def __len__(self) -> int:
        return self._searcher.num_docs

    def _open_writer(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._writer = self._index.writer(WRITER_BYTES, 1)
        return self._writer

    def add(self, document_id: int, file_id: int, kind: str, fields: Sequence[str]) -> None:
        """Add one document, its `FIELDS` given as `terms.stemmed` returns them; seen after `commit` and `reload`."""
        document = tantivy.Document()
        document.add_unsigned("document", document_id)
        document.add_unsigned("file", file_id)
        document.add_text("kind", kind)
        for name, text in zip(FIELDS, fields, strict=True):
            document.add_text(name, text)
        self._open_writer().add_document(document)

    def remove_files(self, file_ids: Sequence[int]) -> None:
        """Remove every document of these files."""
        # by query: deleting by term silently matches nothing in an unsigned field (tantivy-py 0.27)
        query = tantivy.Query.term_set_query(self._schema, "file", list(file_ids))
        self._open_writer().delete_documents_by_query(query)

    def remove_files_from(self, first_file_id: int) -> None:
        """Remove every document of the files numbered `first_file_id` and above."""
        query = tantivy.Query.range_query(self._schema, "file", tantivy.FieldType.Unsigned, first_file_id, None)
        self._open_writer().delete_documents_by_query(query)

    def remove_all(self) -> None:
        """Remove every document."""
        self._open_writer().delete_all_documents()

    def commit(self) -> None:
        """Put on disk what was added and removed."""
        self._open_writer().commit()

    def end_writing(self) -> None:
        """Let go of the writer, once its background merges are done; what was not committed is dropped."""
        if self._writer is not None:
            self._writer.wait_merging_threads()
            self._writer = None

    def close(self) -> None:
        """Let go of everything."""
        self.end_writing()
        if self._mirror is not None:
            self._mirror.cleanup()

    def search(
        self,
        terms: Sequence[str],
        n: int,
        boosts: Sequence[float],
        file_ids: Sequence[int] | None = None,
        kinds: Sequence[str] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ids and BM25 scores of the best `n` documents for stemmed terms, best first.

        Args:
            terms: distinct ones, from `query_terms`.
            n: how many documents at most.
            boosts: weight of each of `FIELDS`; fields add up.
            file_ids: only documents of these files, where given.
            kinds: only documents of these kinds, where given.
        """
        n = min(n, len(self))  # tantivy makes room for all that it is asked for, and ends the process if there is none
        clauses = [
            (
                tantivy.Occur.Should,
                tantivy.Query.boost_query(tantivy.Query.term_query(self._schema, field, term), boost),
            )
            for term in terms
            for field, boost in zip(FIELDS, boosts, strict=True)
            if boost > 0
        ]
        if not clauses or n < 1 or (file_ids is not None and not file_ids):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        question = tantivy.Query.boolean_query(clauses)
        for field, allowed in (("file", file_ids), ("kind", kinds)):
            if allowed is not None:
                among = tantivy.Query.term_set_query(self._schema, field, list(allowed))
                among = tantivy.Query.const_score_query(among, 0.0)
                question = tantivy.Query.boolean_query([(tantivy.Occur.Must, question), (tantivy.Occur.Must, among)])
        hits = self._searcher.search(question, n, count=False).hits
        addresses = [address for _, address in hits]
        ids = np.array(self._searcher.fast_field_values("document", addresses), np.int64)
        scores = np.array([score for score, _ in hits], np.float32)
        order = np.lexsort((ids, -scores))
        return ids[order], scores[order]

    def inverse_document_frequency(self, terms: Sequence[str]) -> NDArray[np.float32]:
        """Return ln(1 + (N − n + ½) / (n + ½)) for each term, n counted in the body field; shape (len(terms),)."""
        total = len(self)
        counts = np.array([self._searcher.doc_freq("body", term) for term in terms], np.float32)
        counts = np.minimum(counts, total)  # documents removed but not yet merged away still count in doc_freq
        return np.log1p((total - counts + 0.5) / (counts + 0.5)).astype(np.float32)
