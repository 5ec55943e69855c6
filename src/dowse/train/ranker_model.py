"""Step 3 of 7, train: an encoder's folder → a cross-encoder with R2PS's head, in modules of sentence-transformers.

    s_cross(q, c) = H(E([q, c])),  H = dense → gelu → LayerNorm → linear(1) → tanh       (Dong et al. 2023,
                                                                                           arXiv:2305.04508)

E pools as its preset says: CodeBERT and GraphCodeBERT by their pooler, MiniLM and UniXcoder by the mean of the tokens.
GraphCodeBERT's ranker reads no data flow, as in the paper: a pair's variables would have to be told from the query's
words. UniXcoder's mode opens the pair, `<s> <encoder-only> </s> query </s> code </s>`. All modules are the library's,
so a saved ranker loads in it as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dowse.errors import ConfigError, MissingExtraError, ModelError

try:
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
    from tokenizers.processors import TemplateProcessing

    from dowse.models.backbones import Backbone, check_fits, load_backbone
    from dowse.models.graphcodebert import DataFlowTransformer
except ImportError as error:
    raise MissingExtraError("dowse train ranker", "train") from error

Kept = Literal["first", "spread"]
"""Which layers of a network stay when it is made shallower: the first, or some evenly apart, the first and last among
them."""


def build_ranker(
    folder: Path, backbone: Backbone | None, max_tokens: int, seed: int, device: str | None = None
) -> CrossEncoder:
    """Put a head, drawn at random, on an encoder.

    Args:
        folder: The encoder's, of sentence-transformers or, with a backbone, of transformers.
        backbone: How it reads; its own modules say so where None.
        max_tokens: The window for a query and a document together.
        seed: Of the head.
        device: For instance "cpu"; the fastest there is where None.

    Raises:
        ModelError: The folder is no such encoder, its tokenizer does not fit it, or the window is too long for it.
    """
    encoder = load_backbone(folder, backbone, device="cpu")
    first = encoder[0]
    pooling = next((module for module in encoder if isinstance(module, Pooling)), None)
    if not isinstance(first, Transformer) or isinstance(first, DataFlowTransformer):
        raise ModelError(
            f"{folder}: begins with {type(first).__name__}, expected a transformer that reads tokens alone; start from "
            "the published weights, with a preset"
        )
    if pooling is not None and pooling.pooling_mode == "lasttoken":
        raise ModelError(
            f"{folder}: pools the last token as decoders do, expected an encoder; name another with --base"
        )
    if backbone and backbone.mode_token:
        _read_pairs(first.processor, backbone.mode_token)
    set_window(folder, first, max_tokens)
    first.query_length = first.document_length = None
    hidden = first.get_embedding_dimension()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = [
            Dense(hidden, hidden, activation_function=torch.nn.GELU()),
            LayerNorm(hidden),
            Dense(hidden, 1, activation_function=torch.nn.Tanh(), module_output_name="scores"),
        ]
    modules = [first, *([pooling] if pooling else []), *head]
    model: CrossEncoder = CrossEncoder(
        modules=modules, device=device, activation_fn=torch.nn.Identity(), local_files_only=True
    )
    return model


def load_ranker(folder: Path, device: str | None = None, *, traceable: bool = False) -> CrossEncoder:
    """Load a ranker that was trained, ready to score.

    Args:
        folder: A folder that `dowse train ranker` wrote.
        device: For instance "cpu"; the fastest there is where None.
        traceable: Write attention out, for an export.

    Raises:
        ModelError: The folder holds none, or its tokenizer does not fit it.
    """
    try:
        said = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
        if said["model_type"] != "CrossEncoder":  # the library would convert it, with a head from a die
            raise ValueError(f"it holds a {said['model_type']}")
        settings = {"dtype": torch.float32} | ({"attn_implementation": "eager"} if traceable else {})
        model: CrossEncoder = CrossEncoder(str(folder), device=device, local_files_only=True, model_kwargs=settings)
        if model.num_labels != 1:
            raise ValueError(f"{model.num_labels} scores")
        first: Any = model[0]
        check_fits(folder, first, first.max_seq_length or 0)
    except ModelError:
        raise
    except Exception as error:  # loading raises whatever it meets
        fault = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{folder}: cannot be loaded ({fault}), expected a ranker with one score; train it again with: dowse train "
            "ranker"
        ) from error
    model.eval()
    return model


def set_window(folder: Path, first: Any, max_tokens: int) -> None:
    """Let a ranker's first module read so many tokens of a query and a document together.

    Raises:
        ModelError: It has not so many positions, or its tokenizer does not fit it.
    """
    check_fits(folder, first, max_tokens)
    first.max_seq_length = max_tokens


def tokenizer_of(model: CrossEncoder) -> Any:
    """Return a ranker's tokenizer, of transformers."""
    first: Any = model[0]
    return first.tokenizer


def depth_of(model: CrossEncoder) -> int:
    """Return the number of layers of a ranker's encoder."""
    first: Any = model[0]
    return int(first.model.config.num_hidden_layers)


def truncate(model: CrossEncoder, layers: int, kept: Kept = "first") -> None:
    """Make a ranker's encoder shallower, in place; nothing where it has as many layers as are wanted.

    Raises:
        ConfigError: It has fewer.
    """
    first: Any = model[0]
    network, depth = first.model, depth_of(model)
    stacks = [
        (owner, name, child)
        for owner in network.modules()
        for name, child in owner.named_children()
        if isinstance(child, torch.nn.ModuleList) and len(child) == depth
    ]
    if not 1 <= layers <= depth or not stacks:
        raise ConfigError(f"{layers} layers were asked for, expected 1 to the {depth} of the model; change layers")
    places = range(layers) if kept == "first" else np.linspace(0, depth - 1, layers).round().astype(int).tolist()
    for owner, name, stack in stacks:
        setattr(owner, name, torch.nn.ModuleList(stack[place] for place in places))
    network.config.num_hidden_layers = layers


def check_same_tokens(teacher: CrossEncoder, student: CrossEncoder) -> None:
    """Raise unless a teacher reads the very tokens that its student does.

    Raises:
        ConfigError: It does not.
    """
    if tokenizer_of(teacher).get_vocab() != tokenizer_of(student).get_vocab():
        raise ConfigError(
            "the ranker to distil from has another vocabulary than the base, expected the same; leave out --base"
        )


def _read_pairs(tokenizer: Any, mode_token: str) -> None:
    """Let a tokenizer with a mode open pairs with it too."""
    first, last = str(tokenizer.cls_token), str(tokenizer.sep_token)
    opening = f"{first} {mode_token} {last}"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{opening} $A {last}",
        pair=f"{opening} $A {last} $B {last}",
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in (first, mode_token, last)],
    )
