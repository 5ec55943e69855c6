"""What an export to int8 keeps of a bi-encoder, beside the quantiser of onnxruntime, in one run.

Embeds functions of CoSQA, in the order of its file, with the network in float32, as `dowse.train.network` makes it
int8 (the channels evened out on other functions), and as the runtime's `quantize_dynamic` does at its best settings.
Leaves `int8-export-<commit>.json` in `results/`: the mean and least cosine with float32, the share of the ten nearest
functions that stay, the median time of a text on one core, and MB.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from measure import p50, timed
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer

from dowse.models.onnx import open_network
from dowse.records import write_result
from dowse.train.network import EXAMPLES, write_network
from dowse.train.onnx import INPUTS, Embedder, load_traceable
from dowse.train.recipes import BASE, base_folder

ROOT = Path(__file__).resolve().parents[1]
TOKENS = 128


def main() -> None:
    """Export thrice, embed, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("codes", type=Path, help="CoSQA's code_idx_map_list_merged.json")
    parser.add_argument("--model", default=BASE, help="a folder of sentence-transformers or a package")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    arguments = parser.parse_args()
    folder = base_folder(arguments.model)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    codes = [one["code_wo_comment"] for one in json.loads(arguments.codes.read_text(encoding="utf-8"))]
    read = [np.array([found.ids]) for found in tokenizer.encode_batch(codes[: arguments.texts + EXAMPLES])]
    texts = [{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in read]
    asked, examples = texts[: arguments.texts], texts[arguments.texts :]
    model = load_traceable(folder)
    network = Embedder(model, int(model.get_embedding_dimension() or 0))
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        paths = {kind: Path(name) / f"{kind}.onnx" for kind in ("float32", "runtime's int8", "int8")}
        write_network(network, INPUTS, "rows", paths["float32"], int8=False)
        write_network(network, INPUTS, "rows", paths["int8"], int8=True, examples=examples)
        settings = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}
        quantize_dynamic(
            paths["float32"], paths["runtime's int8"], op_types_to_quantize=["MatMul", "Gather"], **settings
        )
        sessions = {kind: open_network(path) for kind, path in paths.items()}
        times = {kind: [] for kind in paths}
        found = {kind: [] for kind in paths}
        for text in asked:  # in turn, so that a busy moment meets all
            for kind, session in sessions.items():
                times[kind].append(1000 * timed(lambda: found[kind].append(session.run(None, text)[0])))  # noqa: B023
        rows = {kind: np.concatenate(values) for kind, values in found.items()}
        for kind, path in paths.items():
            cosines = np.sum(rows[kind] * rows["float32"], axis=1)
            figures[kind] = {
                "cosine": float(cosines.mean()),
                "cosine_min": float(cosines.min()),
                "overlap@10": float(
                    np.mean(
                        [len(a & b) / 10 for a, b in zip(*map(_nearest, (rows[kind], rows["float32"])), strict=True)]
                    )
                ),
                "text_p50_ms": p50(times[kind]),
                "mb": path.stat().st_size / 2**20,
            }
    print(json.dumps(figures, indent=1))
    told = {"model": Path(arguments.model).name, "texts": arguments.texts, "tokens": TOKENS, "examples": EXAMPLES}
    print("written:", write_result("int8-export", figures, told, arguments.results))


def _nearest(rows: np.ndarray) -> list[set[int]]:
    """Return the ten others that are nearest to each row."""
    scores = rows @ rows.T
    np.fill_diagonal(scores, -np.inf)
    return [set(row) for row in np.argsort(-scores, axis=1)[:, :10].tolist()]


if __name__ == "__main__":
    main()
