"""Step 3 of 7, train: a trained ranker → the int8 ONNX folder that search loads, checked and calibrated.

Reads a sentence-transformers cross-encoder and judged lists; writes the format of `dowse.models.crossencoder`, which
answers here too: what is compared with the model, and what is calibrated, is what search will run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dowse.errors import MissingExtraError, ModelError
from dowse.models.crossencoder import FILES, FORMAT, INPUTS, KIND, OUTPUT, CrossEncoder, Input
from dowse.records import sha256, write_json

try:
    import sentence_transformers as st
    import torch

    from dowse.train.calibration import Calibration, calibrate, calibration_error
    from dowse.train.judged import JudgedList
    from dowse.train.network import EXAMPLES, spearman, write_network
    from dowse.train.ranker_model import depth_of, load_ranker, tokenizer_of
    from dowse.train.reading import PairReader
except ImportError as error:
    raise MissingExtraError("dowse train", "train") from error

_TOP = 5
_PAIRS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class RankerExport:
    """How a ranker is exported, and how well the export must agree with it.

    Attributes:
        max_query_tokens, max_tokens: What is read of a query, and of a pair with its special tokens.
        input: What is read of a document.
        int8: Weights as int8; as float32 otherwise.
        min_overlap: Share of the five best documents of a list that must be the same, mean over the lists.
        min_correlation: Spearman's correlation that the order of a list must have, mean over the lists.
    """

    max_query_tokens: int = 64
    max_tokens: int = 192
    input: Input = "enriched"
    int8: bool = True
    min_overlap: float = 0.8
    min_correlation: float = 0.9


class _Scorer(torch.nn.Module):
    """A cross-encoder as a function of ids, mask and segments, (B, L) each, to scores of shape (B,)."""

    def __init__(self, model: st.CrossEncoder) -> None:
        super().__init__()
        self.model = model
        self.has_types = "token_type_ids" in tokenizer_of(model).model_input_names

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Score each pair."""
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.has_types:
            features["token_type_ids"] = token_type_ids
        scores: torch.Tensor = self.model(features)["scores"]
        return scores.squeeze(1)


def export_ranker(
    trained: Path,
    folder: Path,
    lists: Sequence[JudgedList],
    options: RankerExport | None = None,
    card: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Write the ONNX folder of a trained ranker, and return how well both agree and how it is calibrated.

    Args:
        trained: A folder that `dowse train ranker` wrote.
        folder: Where `config.json`, `ranker.onnx` and `tokenizer.json` go; written once the check is passed.
        lists: What to check and to calibrate on, at least one of several documents.
        options: See there.
        card: What is to be known of the training; goes into `config.json`.

    Returns:
        "agreement": "spearman", "overlap@5" and "top_1" (means over the lists) and "difference" (mean, of scores);
        "calibration": "slope" and "offset"; "calibration_error": what `calibration.calibration_error` returns.

    Raises:
        ModelError: The folder is no ranker, its export ranks otherwise, or the lists do not allow a calibration.
    """
    chosen = options or RankerExport()
    if not any(len(found.documents) > 1 for found in lists):
        raise ModelError(f"{trained}: no list of several documents to check the export on, expected one; mine more")
    lists = [found for found in lists if found.documents]
    model = load_ranker(trained, "cpu", traceable=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        scratch = Path(name)
        config = _write(model, scratch, chosen, lists)
        expected, found = _torch_scores(model, lists, chosen), _exported_scores(scratch, lists)
        agreement = _agreement(expected, found)
        _check_agreement(trained, agreement, chosen)
        is_relevant = [judged.is_relevant for judged in lists]
        calibration = calibrate(np.concatenate(found), np.concatenate(is_relevant))._asdict()
        held_out = calibration_error(found, is_relevant)
        config |= {"calibration": calibration, "calibration_error": held_out, "agreement": agreement}
        config["trained"] = dict(card or {})
        write_json(scratch / "config.json", config)
        folder.mkdir(exist_ok=True)
        for file in (*FILES, "config.json"):
            (scratch / file).replace(folder / file)
    return {"agreement": agreement, "calibration": calibration, "calibration_error": held_out}


def _write(model: st.CrossEncoder, folder: Path, options: RankerExport, lists: Sequence[JudgedList]) -> dict[str, Any]:
    """Write all three files into an empty folder, not yet calibrated; return what `config.json` holds."""
    reader = PairReader(tokenizer_of(model), options.max_query_tokens, options.max_tokens)
    pairs = [(judged.query, judged.documents[0]) for judged in lists[:EXAMPLES] if judged.documents]
    examples = [_example(reader([query], [document])) for query, document in pairs]
    write_network(_Scorer(model), INPUTS, OUTPUT, folder / "ranker.onnx", int8=options.int8, examples=examples)
    tokenizer = Tokenizer.from_str(tokenizer_of(model).backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config: dict[str, Any] = {
        "format": FORMAT,
        "kind": KIND,
        "max_tokens": options.max_tokens,
        "max_query_tokens": options.max_query_tokens,
        "input": options.input,
        "calibration": Calibration(1.0, 0.0)._asdict(),
        "weights": "int8" if options.int8 else "float32",
        "layers": depth_of(model),
        "files": {file: sha256(folder / file) for file in FILES},
    }
    write_json(folder / "config.json", config)
    return config


def _example(features: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.int64]]:
    ids = features["input_ids"].numpy()
    return {name: features[name].numpy() if name in features else np.zeros_like(ids) for name in INPUTS}


def _torch_scores(
    model: st.CrossEncoder, lists: Sequence[JudgedList], options: RankerExport
) -> list[NDArray[np.float64]]:
    reader = PairReader(tokenizer_of(model), options.max_query_tokens, options.max_tokens)
    found = []
    with torch.inference_mode():
        for query, documents, _ in lists:
            parts = [documents[start : start + _PAIRS_AT_ONCE] for start in range(0, len(documents), _PAIRS_AT_ONCE)]
            scores = [model(reader([query] * len(part), part))["scores"].squeeze(1) for part in parts]
            found.append(torch.cat(scores).double().numpy())
    return found


def _exported_scores(folder: Path, lists: Sequence[JudgedList]) -> list[NDArray[np.float64]]:
    exported = CrossEncoder.load(folder)
    return [exported.logits(query, documents) for query, documents, _ in lists]


def _agreement(expected: Sequence[NDArray[np.float64]], found: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    several = [pair for pair in zip(expected, found, strict=True) if len(pair[0]) > 1]
    best = [tuple(np.argsort(-scores, kind="stable").tolist() for scores in pair) for pair in several]
    tops = [min(_TOP, len(a) - 1) for a, _ in best]
    overlap = [len(set(a[:top]) & set(b[:top])) / top for (a, b), top in zip(best, tops, strict=True)]
    gaps = np.concatenate([np.abs(a - b) for a, b in several])
    return {
        "lists": len(several),
        "documents": int(gaps.size),
        "spearman": round(float(np.mean([spearman(*pair) for pair in several])), 5),
        f"overlap@{_TOP}": round(float(np.mean(overlap)), 4),
        "top_1": round(float(np.mean([a[0] == b[0] for a, b in best])), 4),
        "difference": round(float(gaps.mean()), 5),
    }


def _check_agreement(trained: Path, agreement: Mapping[str, float], options: RankerExport) -> None:
    for name, least in ((f"overlap@{_TOP}", options.min_overlap), ("spearman", options.min_correlation)):
        if not agreement[name] >= least:
            raise ModelError(
                f"{trained}: the export's {name} with the ranker is {agreement[name]}, expected at least {least}; "
                "train it longer, or keep the ranker as it is, unexported, with --no-export"
            )
