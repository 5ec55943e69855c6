"""Models: the encoder that a user names, opened. Used by the steps of the workbench, never by search.

A name is `default` (the bi-encoder that ships with Dowse), `static` (the static model that ships), a package that holds
a model, or a folder: of sentence-transformers, of a static model or of a bi-encoder that `dowse train` exported. Torch
is imported when a sentence-transformers folder is opened, and not before.
"""

from __future__ import annotations

from pathlib import Path

from dowse.errors import ConfigError
from dowse.models.biencoder import BiEncoder, default_biencoder
from dowse.models.sentence import PACKAGES, TorchEncoder, packaged
from dowse.models.static import StaticEncoder, default_static

DEFAULT, STATIC = "default", "static"


def open_named(
    name: str, option: str, max_query_tokens: int | None = None, max_document_tokens: int | None = None
) -> BiEncoder | StaticEncoder | TorchEncoder:
    """Open the encoder of a name (see above).

    Args:
        name: See above.
        option: Of the command line, that said so; an error names it.
        max_query_tokens: The most that a sentence-transformers folder reads of a query; its own limit where None.
        max_document_tokens: The same for a document. Other encoders keep the limits they have.

    Raises:
        ConfigError: The name is none of these.
        MissingExtraError: The package, or sentence-transformers, is not installed.
        ModelError: The model cannot be loaded.
    """
    if name == STATIC:
        return default_static()
    if name == DEFAULT:
        shipped = default_biencoder()
        if shipped is None:
            raise ConfigError(f"this installation has no retriever {DEFAULT!r}; name another with {option}")
        return shipped
    folder = packaged(name) if name in PACKAGES else Path(name)
    if (folder / "modules.json").is_file():
        called = name if name in PACKAGES else folder.resolve().name
        return TorchEncoder(folder, called, max_query_tokens, max_document_tokens)
    if (folder / "embeddings.npy").is_file():
        return StaticEncoder.load(folder)
    if (folder / "model.onnx").is_file():
        return BiEncoder.load(folder)
    fault = "a folder without a model" if folder.is_dir() else "no such folder"
    raise ConfigError(
        f"{option} {name!r}: {fault}, expected a folder of sentence-transformers, of a static model or of an exported "
        f"bi-encoder, or one of {', '.join((DEFAULT, STATIC, *PACKAGES))}; check the name"
    )
