"""Step 4 of 7, evaluate: how published figures were obtained: what models read, how much of it, and what is ranked.

- `oasis`: Gao et al. 2025 (arXiv:2503.08161) and its released script. Tokens joined by single spaces; CoSQA's codes
  keep their docstrings; models read up to their own limit (8,192 tokens in the paper); cosine; the whole codebase; MRR,
  0 beyond rank 1,000; code to code by MAP over the whole ranking, the query itself left out.
- `r2ps`: Dong et al. (arXiv:2305.04508) and its released script. The same texts and the same MRR; 128 tokens of a query
  and 256 of a code. Its script takes dot products of what the models return, which for CodeBERT and GraphCodeBERT are
  not of unit length; Dowse's models are compared by cosine.
- `csn`: Husain et al. 2019 (arXiv:1909.09436) and its released script. The answer among 999 others: the test functions
  are shuffled and cut into thousands, the rest of under a thousand is left out; MRR, averaged. Departs from the script
  in two points: it ranks the queries for a code, here the codes are ranked for a query as the paper says; and an equal
  score counts against the answer there, while here the order of the ids decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from dowse.config import suggestion
from dowse.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Protocol:
    """How texts are prepared, cut and ranked.

    Attributes:
        max_query_tokens: what a model reads of a query; its own limit where None.
        max_document_tokens: the same for a document.
        distractors: documents ranked beside the answer; all where None.
    """

    name: str
    max_query_tokens: int | None = None
    max_document_tokens: int | None = None
    distractors: int | None = None

    def text(self, text: str) -> str:
        """Return a text with its words joined by single spaces, as all three do.

        >>> OASIS.text("def f(x):\\n    return x")
        'def f(x): return x'
        """
        return " ".join(text.split())


OASIS = Protocol("oasis")
R2PS = Protocol("r2ps", max_query_tokens=128, max_document_tokens=256)
CSN = Protocol("csn", distractors=999)

PROTOCOLS = {protocol.name: protocol for protocol in (OASIS, R2PS, CSN)}


def protocol_named(name: str) -> Protocol:
    """Return a protocol by its name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {name!r}{suggestion(name, PROTOCOLS)}")
    return PROTOCOLS[name]
