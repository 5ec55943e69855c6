"""Neural backbones: a folder of weights → a sentence-transformers model that reads and pools as its authors meant it.

Reads any folder of Hugging Face transformers, in the formats that CodeBERT, GraphCodeBERT, UniXcoder, MiniLM and
Qwen2.5-Coder are published in, or of sentence-transformers, whose own modules are then used. Writes nothing; nothing is
fetched, and no code from a folder is run: pickled weights (`pytorch_model.bin`) are read by torch's `weights_only`,
which makes tensors and refuses everything else, and remote code is never trusted.

A preset says how a text becomes one vector. Their settings are those of the papers (`docs/backbones.md`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dowse.config import check_values, suggestion
from dowse.errors import ConfigError, MissingExtraError, ModelError
from dowse.models.folder import model_files

try:
    import sentence_transformers as st
    import torch
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    from sentence_transformers.util import import_from_string
    from transformers import AutoModel
    from transformers.utils import logging

    from dowse.models.graphcodebert import DataFlowTransformer
    from dowse.models.unixcoder import with_mode
except ImportError as error:
    raise MissingExtraError("a neural backbone", "train") from error

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POOLINGS = MappingProxyType({"mean": "mean", "cls": "cls", "pooler": "", "last_token": "lasttoken"})
"""Ways to pool, with the library's names; the pooler is a layer of the encoder's own on top of its first token."""

PADDING_SIDES = ("left", "right")
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",), ("tokenizer.model",))
_HEADS = ("lm_head.", "cls.", "pooler.")
"""Weights that training had on top of the encoder; they are left out."""

_DATA_FLOW = f"{DataFlowTransformer.__module__}.{DataFlowTransformer.__name__}"
_OFFLINE = {"local_files_only": True, "trust_remote_code": False}
_POOLER_SEED = 0


@dataclass(frozen=True, slots=True)
class Backbone:
    """How a text becomes one vector.

    Attributes:
        pooling: `mean` of the tokens, `cls` (the first), `pooler` (of the encoder) or `last_token`.
        normalise: whether vectors get unit norm.
        scale: 1 / temperature, by which a contrastive loss multiplies similarities.
        max_query_tokens: longer queries are cut, all special tokens and the prompt counted.
        max_document_tokens: longer documents are cut likewise.
        padding_side: `left` where the last token must stand at the end.
        query_prompt: put before every query.
        document_prompt: put before every document.
        mode_token: UniXcoder's, read as `<s> mode_token </s> text </s>`; none where empty.
        data_flow_nodes: the most variables that GraphCodeBERT reads beside a document; no data flow where 0.
    """

    name: str
    pooling: str = "mean"
    normalise: bool = True
    scale: float = 20.0
    max_query_tokens: int = 128
    max_document_tokens: int = 256
    padding_side: str = "right"
    query_prompt: str = ""
    document_prompt: str = ""
    mode_token: str = ""
    data_flow_nodes: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: A setting is of another type.
            ModelError: A setting is outside its range.
        """
        check_values(self)
        if self.pooling not in POOLINGS:
            raise ModelError(f"backbone {self.name}: pooling is {self.pooling!r}{suggestion(self.pooling, POOLINGS)}")
        if self.padding_side not in PADDING_SIDES:
            raise ModelError(f"backbone {self.name}: padding_side is {self.padding_side!r}, expected left or right")
        for field in ("scale", "max_query_tokens", "max_document_tokens"):
            if not 0 < (value := getattr(self, field)) < inf:
                raise ModelError(f"backbone {self.name}: {field} is {value}, expected more than 0, and finite")
        if self.data_flow_nodes < 0:
            raise ModelError(f"backbone {self.name}: data_flow_nodes is {self.data_flow_nodes}, expected 0 or more")


_CODE_QUERY = "Instruct: Given a code search query, retrieve relevant code snippet that answer the query\nQuery: "

PRESETS: Mapping[str, Backbone] = MappingProxyType(
    {
        backbone.name: backbone
        for backbone in (
            Backbone("minilm"),
            Backbone("codebert", pooling="pooler", normalise=False, scale=1.0),
            Backbone("graphcodebert", pooling="pooler", normalise=False, scale=1.0, data_flow_nodes=64),
            Backbone("unixcoder", mode_token="<encoder-only>"),
            Backbone(
                "oasis",
                pooling="last_token",
                max_query_tokens=8192,
                max_document_tokens=8192,
                padding_side="left",
                query_prompt=_CODE_QUERY,
            ),
        )
    }
)


def choose_backbone(preset: str, **changes: Any) -> Backbone:
    """Return a preset with some of its settings changed.

    >>> choose_backbone("codebert", max_document_tokens=512).pooling
    'pooler'

    Raises:
        ConfigError: There is no such preset or setting.
        ModelError: A setting has a value it cannot have.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset is {preset!r}, which is not known{suggestion(preset, PRESETS)}")
    known = [field.name for field in fields(Backbone)]
    for key in changes:
        if key not in known:
            raise ConfigError(f"backbone {preset} has no setting {key!r}{suggestion(key, known)}")
    return replace(PRESETS[preset], **changes)


def weights_of(folder: Path) -> Path:
    """Return the file of a model's weights, to tell it by; of several the outermost, and the first by name.

    Raises:
        ModelError: The folder has none.
    """
    found = [path for path in model_files(folder) if path.match("*.safetensors") or path.match("pytorch_model*.bin")]
    if not found:
        raise ModelError(f"{folder}: has no weights, expected the folder of a model; check the path")
    return min(found, key=lambda path: (len(path.parts), path))


def load_backbone(
    folder: Path, backbone: Backbone | str | None = None, *, device: str | None = None, dtype: str = "float32"
) -> st.SentenceTransformer:
    """Load a model from a folder.

    A folder of sentence-transformers keeps its modules and its prompts; a backbone then sets lengths and the padding
    side, adds prompts and the normalisation where there are none, and must agree with the pooling. The model is ready
    for `encode_query` and `encode_document`, and its `save_pretrained` keeps all of it.

    Args:
        folder: The model's.
        backbone: How it is read, or the name of a preset; needed unless the folder is sentence-transformers'.
        device: For instance "cpu"; the fastest there is where None.
        dtype: Of the weights. Training wants float32 even where it computes in bfloat16.

    Raises:
        ConfigError: There is no such preset.
        ModelError: The folder is no model, lacks files, is damaged, or is of another kind than the backbone.
    """
    if isinstance(backbone, str):
        backbone = choose_backbone(backbone)
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder, expected one with a model; check the path, nothing is downloaded")
    with loading_quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(_POOLER_SEED)  # a pooler that the weights lack is drawn at random
        if (folder / "modules.json").is_file():
            model = _load_saved(folder, device, dtype)
            return model if backbone is None else _adapt(model, backbone, folder)
        if backbone is None:
            raise ModelError(
                f"{folder}: does not say how to pool, expected a sentence-transformers folder or a preset; name one of "
                + ", ".join(PRESETS)
            )
        return _build(folder, backbone, device, dtype)


def _build(folder: Path, backbone: Backbone, device: str | None, dtype: str) -> st.SentenceTransformer:
    """Put the modules together for a folder of transformers."""
    shape = _check_weights(folder)
    _check_tokenizer_files(folder)
    pools_itself = backbone.pooling == "pooler"
    if pools_itself and getattr(shape, "pooler", None) is None:
        raise ModelError(f"{folder}: {type(shape).__name__} has no pooler; choose another pooling than 'pooler'")
    output = ("pooler_output", "sentence_embedding") if pools_itself else ("last_hidden_state", "token_embeddings")
    settings: dict[str, Any] = {
        "model_kwargs": {**_OFFLINE, "dtype": dtype},
        "processor_kwargs": dict(_OFFLINE),
        "config_kwargs": dict(_OFFLINE),
        # Said aloud, or a tokenizer with a chat template would have every text dressed up as a chat.
        "modality_config": {"text": {"method": "forward", "method_output_name": output[0]}},
        "module_output_name": output[1],
    }
    with _as_model_error(folder):
        first = (
            DataFlowTransformer(str(folder), max_nodes=backbone.data_flow_nodes, **settings)
            if backbone.data_flow_nodes
            else Transformer(str(folder), **settings)
        )
    tokenizer: Any = first.processor
    if tokenizer.pad_token is None:  # decoders are trained without
        tokenizer.pad_token = tokenizer.eos_token
    modules = [first] if pools_itself else [first, Pooling(shape.config.hidden_size, POOLINGS[backbone.pooling])]
    model = st.SentenceTransformer(modules=modules, device=device, local_files_only=True)  # when saved, too
    model.similarity_fn_name = "cosine" if backbone.normalise else "dot"
    return _adapt(model, backbone, folder)


def _adapt(model: st.SentenceTransformer, backbone: Backbone, folder: Path) -> st.SentenceTransformer:
    """Give a model a backbone's lengths, prompts, padding side and normalisation."""
    first = model[0]
    if not isinstance(first, Transformer):
        raise ModelError(f"{folder}: begins with {type(first).__name__}, expected a transformer; name no preset for it")
    found = _manner(_pooling_of(model), isinstance(first, DataFlowTransformer))
    asked = _manner(backbone.pooling, backbone.data_flow_nodes > 0)
    if found != asked:
        raise ModelError(
            f"{folder}: has {found}, expected {asked} as in {backbone.name}; choose another preset or none"
        )
    if isinstance(first, DataFlowTransformer):
        first.max_nodes = backbone.data_flow_nodes
    tokenizer: Any = first.processor
    if backbone.data_flow_nodes and _positions_kept(first.model) < 2:
        raise ModelError(
            f"{folder}: has no position to spare for data flow, expected a RoBERTa; set data_flow_nodes to 0"
        )
    check_fits(folder, first, max(backbone.max_query_tokens, backbone.max_document_tokens))
    if backbone.mode_token:
        first.processor = tokenizer = with_mode(tokenizer, backbone.mode_token, folder)
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = backbone.padding_side  # the latter is saved
    first.max_seq_length = max(backbone.max_query_tokens, backbone.max_document_tokens)
    first.query_length, first.document_length = backbone.max_query_tokens, backbone.max_document_tokens
    for task, prompt in (("query", backbone.query_prompt), ("document", backbone.document_prompt)):
        model.prompts[task] = model.prompts.get(task) or prompt
    if backbone.normalise and not any(isinstance(module, Normalize) for module in model):
        model.append(Normalize())
    return model


def _pooling_of(model: st.SentenceTransformer) -> str | None:
    for module in model:
        if isinstance(module, Pooling):
            return next((name for name, theirs in POOLINGS.items() if theirs == module.pooling_mode), None)
    first: Any = model[0]
    return "pooler" if first.modality_config["text"]["method_output_name"] == "pooler_output" else None


def _manner(pooling: str | None, has_data_flow: bool) -> str:
    return f"{pooling} pooling with{'' if has_data_flow else 'out'} data flow"


def check_fits(folder: Path, first: Any, max_tokens: int) -> None:
    """Raise unless an encoder has embeddings for its tokenizer's vocabulary, and positions for the longest text.

    Raises:
        ModelError: It has not.
    """
    network, tokenizer = first.model, first.processor
    rows = network.get_input_embeddings().num_embeddings
    highest = max(tokenizer.get_vocab().values())
    if tokenizer.pad_token is None or highest >= rows:
        raise ModelError(
            f"{folder}: a vocabulary of {len(tokenizer)} up to number {highest} with {tokenizer.pad_token!r} for "
            f"padding does not fit {rows} embeddings; use the tokenizer's files that the model came with"
        )
    most = network.config.max_position_embeddings - _positions_kept(network)
    if max_tokens > most:
        raise ModelError(
            f"{folder}: has positions for {most} tokens, expected {max_tokens}; set the most tokens of a text lower"
        )


def _positions_kept(network: Any) -> int:
    """Return how many positions come before that of the first token: RoBERTa keeps two, BERT none."""
    positions = getattr(getattr(network, "embeddings", None), "position_embeddings", None)
    return 0 if positions is None or positions.padding_idx is None else positions.padding_idx + 1


def _load_saved(folder: Path, device: str | None, dtype: str) -> st.SentenceTransformer:
    """Load a folder of sentence-transformers with its own modules, if they are the library's or Dowse's."""
    with _as_model_error(folder):
        entries = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        types, parts = ([str(entry[key]) for entry in entries] for key in ("type", "path"))
    for foreign in (kind for kind in types if not kind.startswith("sentence_transformers.") and kind != _DATA_FLOW):
        raise ModelError(f"{folder}: needs code of its own, {foreign}, expected none; Dowse does not run it")
    for kind, part in zip(types, parts, strict=True):
        if kind.endswith("Transformer"):
            _check_weights(folder / part)
    with _as_model_error(folder):
        if _DATA_FLOW not in types:
            return st.SentenceTransformer(
                str(folder), device=device, local_files_only=True, model_kwargs={"dtype": dtype}
            )
        # The library would load our class only if all code of the folder were trusted.
        classes: list[Any] = [DataFlowTransformer if kind == _DATA_FLOW else import_from_string(kind) for kind in types]
        modules = [
            module.load(str(folder), subfolder=part, local_files_only=True, model_kwargs={"dtype": dtype})
            for module, part in zip(classes, parts, strict=True)
        ]
        said = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
        kept = {key: said[key] for key in ("prompts", "default_prompt_name", "similarity_fn_name")}
        return st.SentenceTransformer(modules=modules, device=device, local_files_only=True, **kept)


def _check_tokenizer_files(folder: Path) -> None:
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        choice = ", ".join(" and ".join(names) for names in _TOKENIZERS)
        raise ModelError(f"{folder}: has no tokenizer, expected {choice}; copy them from where the model came from")


def _check_weights(folder: Path) -> PreTrainedModel:
    """Compare the weights with the configuration, and return the model without weights.

    Only heads may be left over, and only a pooler may be missing.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: has no config.json, expected the folder of a model; check the path")
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise ModelError(
            f"{folder}: has no weights, expected {WEIGHTS[0]} or {WEIGHTS[2]} (or their index.json); copy them there"
        )
    with _as_model_error(folder):
        model, found = AutoModel.from_pretrained(
            folder,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            weights_only=True,
            **_OFFLINE,
        )
    faults = [
        f"{key} is {tuple(has)} instead of {tuple(wants)}" for key, has, wants in sorted(found["mismatched_keys"])
    ]
    faults += [f"{key} is missing" for key in sorted(found["missing_keys"]) if not key.startswith("pooler.")]
    faults += [
        f"{key} is not part of it"
        for key in sorted(found["unexpected_keys"])
        if not key.startswith(_HEADS) and not key.endswith("position_ids")
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ModelError(
            f"{folder}: the weights are of another shape than {type(model).__name__} as in config.json: "
            f"{'; '.join(faults[:3])}{more}; use the config.json that belongs to them"
        )
    return model  # type: ignore[no-any-return]


@contextmanager
def _as_model_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # loading raises whatever it meets
        fault = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(
            f"{folder}: cannot be loaded ({fault}), expected a model of transformers or sentence-transformers; "
            "copy it again from where it came from"
        ) from error


@contextmanager
def loading_quietly() -> Iterator[None]:
    """Keep the library's progress bars and reports to itself: what matters in them becomes an error here."""
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
