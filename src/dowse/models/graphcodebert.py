"""GraphCodeBERT's way of reading: code and its data flow → token embeddings, by a graph-guided attention mask.

Guo et al. 2021 (arXiv:2009.08366), section 3 and 4.2. A document becomes `<s> code </s> nodes`, where the nodes are the
variables of `dowse.models.dataflow`:

- A node stands for the code tokens it is identified with: its input embedding is their mean.
- Positions: code counts from 2 on, padding is 1, and every node is at 0.
- Attention (M of Eq. 4): code attends to code, `<s>` and `</s>` attend to everything; a node and the code tokens it is
  identified with attend to each other; a node attends to itself and to the nodes its value comes or is computed from.

Only texts encoded as documents (`encode_document`, or a column mapped to the task "document") are read like that; a
query is read as RoBERTa would. Nodes come on top of the document's length. Departs from the authors' script, which lets
code take the places that nodes leave free, and where a node does not attend to itself, as it does in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dowse.errors import ConfigError, MissingExtraError
from dowse.languages import language_of
from dowse.models.dataflow import DataFlow, data_flow, recognise
from dowse.models.dataflow_tables import FLOW_TABLES
from dowse.models.text import split_document_text

try:
    import torch
    from sentence_transformers.base.modules import Transformer
except ImportError as error:
    raise MissingExtraError("a GraphCodeBERT model", "train") from error

if TYPE_CHECKING:
    from sentence_transformers.base.modules.transformer import ProcessingKwargs
    from torch import Tensor

MAX_NODES = 64
"""As in the paper."""

NODE_POSITION = 0
_BARRED = -65504.0
"""Added to a logit to bar it: the least number of half precision, so that no type turns it into an infinity, by which
the rows of padding would become NaN."""
_TASK = "document"


class GraphInput(NamedTuple):
    """One document: L tokens, of which the last are nodes."""

    position_ids: NDArray[np.int64]
    """Shape (L,)."""
    mask: NDArray[np.bool_]
    """Shape (L, L): whether the row attends to the column."""


def graph_input(
    spans: Sequence[tuple[int, int]], special: Sequence[bool], flow: DataFlow, first_position: int, max_nodes: int
) -> GraphInput:
    """Lay out one document's positions and attention; nodes whose tokens were cut off are left out.

    Args:
        spans: The characters of each of the C code tokens, special ones included.
        special: Which of them are `<s>` or `</s>`, shape (C,).
        flow: The data flow of the text that the characters are of.
        first_position: The position of the first token, 2 in RoBERTa.
        max_nodes: How many nodes are kept, from the beginning of the text.
    """
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    is_code = ~np.array(special, dtype=bool)
    identified = [is_code & (starts < variable.end) & (ends > variable.start) for variable in flow.variables]
    kept = [number for number, tokens in enumerate(identified) if tokens.any()][:max_nodes]
    row = {number: len(spans) + place for place, number in enumerate(kept)}
    length = len(spans) + len(kept)
    mask = np.zeros((length, length), dtype=bool)
    mask[: len(spans), : len(spans)] = True
    mask[: len(spans)][~is_code] = True
    for number in kept:
        mask[row[number], : len(spans)] = identified[number]
        mask[: len(spans), row[number]] |= identified[number]
        mask[row[number], row[number]] = True
    for target, _, sources in flow.edges:
        for source in sources:
            if target in row and source in row:
                mask[row[target], row[source]] = True
    positions = np.full(length, NODE_POSITION, dtype=np.int64)
    positions[: len(spans)] = first_position + np.arange(len(spans))
    return GraphInput(positions, mask)


class DataFlowTransformer(Transformer):
    """A RoBERTa encoder that reads documents together with their data flow.

    Loading a saved model in plain sentence-transformers takes an installed Dowse and `trust_remote_code=True`, the
    library's condition for any class that is not its own; `dowse.models.backbones.load_backbone` trusts no remote code.
    """

    config_keys: list[str] = [*Transformer.config_keys, "max_nodes", "language"]  # noqa: RUF012

    def __init__(
        self, model_name_or_path: str, *, max_nodes: int = MAX_NODES, language: str | None = None, **kwargs: Any
    ) -> None:
        """Load the encoder.

        Args:
            model_name_or_path: The folder.
            max_nodes: The most variables of a document that are read.
            language: That of all documents, a key of `FLOW_TABLES`; told by file names, else recognised, if None.
            kwargs: What sentence-transformers' own module takes.

        Raises:
            ConfigError: The language is not one of the six.
        """
        if language is not None and language not in FLOW_TABLES:
            raise ConfigError(
                f"language is {language!r}, expected one with a known data flow ({', '.join(FLOW_TABLES)}), or none"
            )
        super().__init__(model_name_or_path, **kwargs)
        self.max_nodes = max_nodes
        self.language = language

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        processing_kwargs: ProcessingKwargs | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Tokenise texts; documents also get their nodes.

        Returns:
            What sentence-transformers' own module returns, `input_ids` and `attention_mask` of shape (B, L). For
            documents L counts the nodes as well, `attention_mask` is 1 at code only (so that pooling leaves nodes out),
            and `position_ids` (B, L) and `graph_mask` (B, L, L, bool) are added.
        """
        if kwargs.get("task") != _TASK or not inputs:
            return super().preprocess(inputs, prompt, processing_kwargs, **kwargs)
        said = processing_kwargs or {}
        asked = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
        features = super().preprocess(inputs, prompt, {**said, "text": {**said.get("text", {}), **asked}}, **kwargs)
        spans, special = features.pop("offset_mapping"), features.pop("special_tokens_mask")
        graphs = []
        for row, text in enumerate(inputs):
            present = features["attention_mask"][row].bool()
            flow, begins = self._flow(text)
            places = (spans[row][present] - len(prompt or "") - begins).tolist()
            is_special = special[row][present].bool().tolist()
            graphs.append(graph_input(places, is_special, flow, self._padding + 1, self.max_nodes))
        return features | self._tensors(features, graphs)

    @property
    def _padding(self) -> int:
        return int(self.config.pad_token_id)

    def _flow(self, text: str) -> tuple[DataFlow, int]:
        """Return the data flow of a document's code, and the character where the code begins.

        A first line with a file name, as `dowse.models.text` puts it there, is no code, and tells the language.
        """
        path, code = split_document_text(text)
        begins = len(text) - len(code)
        named = language_of(path)
        language = self.language or (named.name if named else recognise(code))
        if language is None or language not in FLOW_TABLES:
            return DataFlow((), ()), begins
        return data_flow(code, language), begins

    def _tensors(self, features: dict[str, Any], graphs: Sequence[GraphInput]) -> dict[str, Tensor]:
        """Pad B documents to the longest."""
        assert self.tokenizer is not None
        shape = len(graphs), max(len(graph.position_ids) for graph in graphs)
        ids = torch.full(shape, self.tokenizer.pad_token_id)
        attention = torch.zeros(shape, dtype=torch.int64)
        positions = torch.full(shape, self._padding)
        mask = torch.zeros((*shape, shape[1]), dtype=torch.bool)
        for row, graph in enumerate(graphs):
            length, code = len(graph.position_ids), int((graph.position_ids != NODE_POSITION).sum())
            present = features["attention_mask"][row].bool()
            ids[row, :code] = features["input_ids"][row][present]
            ids[row, code:length] = self.tokenizer.unk_token_id
            attention[row, :code] = 1
            positions[row, :length] = torch.from_numpy(graph.position_ids)
            mask[row, :length, :length] = torch.from_numpy(graph.mask)
        return {"input_ids": ids, "attention_mask": attention, "position_ids": positions, "graph_mask": mask}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add the encoder's output to the features, token embeddings of shape (B, L, D) or pooled ones (B, D)."""
        if "graph_mask" not in features:
            return super().forward(features, **kwargs)
        mask, positions = features["graph_mask"], features["position_ids"]
        embedded = self.model.get_input_embeddings()(features["input_ids"])
        nodes, code = positions == NODE_POSITION, positions > self._padding
        identified = (mask & nodes[:, :, None] & code[:, None, :]).to(embedded.dtype)
        means = identified @ embedded / identified.sum(-1, keepdim=True).clamp(min=1)
        # Additive, since truth values mean something else to every implementation of attention.
        barred = torch.zeros(mask.shape, dtype=embedded.dtype, device=mask.device).masked_fill(~mask, _BARRED)
        read = {
            "inputs_embeds": torch.where(nodes[:, :, None], means, embedded),
            "position_ids": positions,
            "attention_mask": barred[:, None],
        }
        output = super().forward(read, **kwargs)
        return features | {self.module_output_name: output[self.module_output_name]}
