"""Step 2 of 7, label: the whole step, block after block, in passes that can be killed at any moment.

Reads a pairs folder; writes `labels-*.parquet`, `changes.parquet`, `counts.json`, `README.md` and, last of all,
`manifest.json`, and in `.labelling/` what the passes leave each other. First every block is measured (candidates,
labels, tree distances), then the mixture is fitted to a sample of all labels, then every block is read again, its
suspects are found and judged, and its rows are written. A file is there whole or not at all, and what is there is not
made again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowse.cluster import Cluster, opened
from dowse.errors import ConfigError, MissingExtraError
from dowse.label.adjust import adjust_block, write_changes
from dowse.label.blocks import Block, plan_blocks, read_block
from dowse.label.candidates import POSITIVE
from dowse.label.encoders import EndpointEncoder, LabellingEncoder, open_local
from dowse.label.folder import LabelFolder, summed_figures, write_block
from dowse.label.judge import CrossEncoderJudge, EndpointJudge, Judge
from dowse.label.measure import Measurer
from dowse.label.report import write_card
from dowse.label.settings import LabelSettings, is_address
from dowse.label.similarity import CachedEncoder
from dowse.label.suspects import SAMPLED_LABELS, Mixture, Reservoir, fit_mixture
from dowse.label.trees import Trees
from dowse.mine.pairs import shards
from dowse.models.answers import AnswerCache
from dowse.models.ranking import DenseRanking
from dowse.models.sentence import CrossScorer
from dowse.records import sha256, write_json, write_manifest
from dowse.types import StageProgress

try:
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("dowse label", "data") from error

if TYPE_CHECKING:
    from dowse.models.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class _Run:
    """What the passes over one folder of pairs share."""

    settings: LabelSettings
    files: Sequence[Path]
    blocks: Sequence[Block]
    folder: LabelFolder
    progress: StageProgress
    cluster: Cluster | None

    @property
    def pairs(self) -> int:
        """Pairs in all."""
        return sum(block.pairs for block in self.blocks)

    @property
    def cache(self) -> Path:
        """Where embeddings and answers are kept."""
        return self.settings.cache or self.folder.work / "cache.sqlite"


def label_pairs(
    pairs: Path,
    output: Path,
    settings: LabelSettings | None = None,
    progress: StageProgress = lambda *_: None,
    cluster: Cluster | None = None,
) -> Mapping[str, Any]:
    """Label a pairs folder into `output`, going on where an earlier run was stopped, and return the figures.

    A finished folder of the same settings and pairs is left as it is. A cluster embeds, compares trees and judges in
    place of this process; endpoints are asked from here all the same, at the pace of one.

    Raises:
        ConfigError: A setting is wrong, or `output` holds the work of other settings or pairs, or of a run under way.
        DataError: The pairs are no finished pairs folder, or a row is faulty.
        ModelError: A model cannot be loaded, or an endpoint cannot be used.
    """
    settings = settings or LabelSettings()
    files = shards(pairs)
    folder = LabelFolder(output)
    kept = folder.root / "counts.json"
    with folder.held():
        folder.begin(settings.as_record() | {"pairs": {path.name: sha256(path) for path in files}})
        if not folder.is_finished:
            _check_judge(settings.judge)
            blocks = plan_blocks(files, settings.block_pairs, settings.max_pairs, settings.draw.seed)
            run = _Run(settings, files, blocks, folder, progress, cluster)
            with ExitStack() as stack:
                _measure(run, stack)
                mixture = _fit(run)
                _adjust(run, mixture, stack)
            figures = _figures(run, mixture)
            write_json(kept, figures)
            _finish(run, figures)
    found: Mapping[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def _measure(run: _Run, stack: ExitStack) -> None:
    """Measure the blocks that are not measured yet."""
    waiting = [block for block in run.blocks if not run.folder.measured(block).is_file()]
    if not waiting:
        return
    settings = run.settings
    encoder = _open_encoder(run, stack)
    run.folder.name("encoder", encoder.name)
    cache = AnswerCache(run.cache if encoder.is_worth_caching else None)
    stack.callback(cache.close)
    retriever = None
    if settings.draw.hard:
        ranking = open_local(settings.retriever, "--retriever")
        retriever = DenseRanking(ranking)
        run.folder.name("retriever", ranking.name)
    trees = stack.enter_context(Trees(settings.processes, run.cluster))
    measurer = Measurer(settings, CachedEncoder(encoder, cache), trees, retriever)
    done = run.pairs - sum(block.pairs for block in waiting)
    for block in waiting:
        told = _Share(run, done, block.pairs)
        told(0)
        started = time.monotonic()
        rows, figures = measurer.measure(*read_block(run.files, block), told)
        write_block(run.folder.measured(block), rows, figures | {"measure_s": time.monotonic() - started})
        done += block.pairs
        run.progress("measuring", done, run.pairs)


def _fit(run: _Run) -> Mixture | None:
    """Fit the mixture to a sample of the measured labels, positives included unless they say nothing."""
    sample = Reservoir(SAMPLED_LABELS, run.settings.draw.seed)
    has_positives = run.settings.positive_against == "code"
    for block in run.blocks:
        measured = pq.read_table(run.folder.measured(block), columns=["role", "label"])
        label, role = measured["label"].to_numpy(), measured["role"].to_numpy()
        sample.add(label if has_positives else label[role != POSITIVE])
    return fit_mixture(sample.labels, run.settings.suspects.weighted, run.settings.draw.seed, has_positives)


def _adjust(run: _Run, mixture: Mixture | None, stack: ExitStack) -> None:
    """Find and judge the suspects of the blocks that are not finished yet."""
    judge: Judge | None = None
    doing = "judging" if run.settings.judge else "writing"
    done = 0
    for block in run.blocks:
        if not run.folder.labels(block).is_file():
            started = time.monotonic()
            if judge is None and run.settings.judge:
                judge = _open_judge(run, stack)
                run.folder.name("judge", judge.name)
            told = partial(_told_share, run, doing, done, block.pairs)
            told(0.0)
            table, _ = read_block(run.files, block)
            measured = pq.read_table(run.folder.measured(block))
            rows, counts = adjust_block(table, measured, mixture, judge, run.settings, told)
            adjust_s = time.monotonic() - started  # nearly all of it the judge's, where there is one
            write_block(run.folder.labels(block), rows, dict(counts) | {"adjust_s": adjust_s})
        done += block.pairs
        run.progress(doing, done, run.pairs)


def _figures(run: _Run, mixture: Mixture | None) -> dict[str, Any]:
    """Return counts, times and the mixture of the whole."""
    folder = run.folder
    total = summed_figures([place(block) for block in run.blocks for place in (folder.measured, folder.labels)])
    seconds = float(total["measure_s"] + total["adjust_s"])
    times = {name: round(total.pop(name, 0.0), 3) for name in ("encoder_s", "trees_s", "adjust_s")}
    counts = {name: count for name, count in sorted(total.items()) if not name.endswith("_s")}
    negatives = counts["rows"] - counts["queries"]
    return {
        "counts": counts,
        "suspect_share": round(counts["suspects"] / negatives, 4) if negatives else 0.0,
        "mixture": None if mixture is None else mixture.as_record(),
        "seconds": round(seconds, 3),
        **times,
        "encoder_share": round(times["encoder_s"] / seconds, 3) if seconds else 0.0,
        "models": folder.names(),
    }


def _finish(run: _Run, figures: Mapping[str, Any]) -> None:
    """Write what describes the whole, and clear up."""
    folder = run.folder
    write_changes([folder.labels(block) for block in run.blocks], folder.root / "changes.parquet")
    config = run.settings.as_record() | {"figures": figures}
    write_card(folder.root, run.settings, figures)
    seed = run.settings.draw.seed
    write_manifest(folder.root, config=config, inputs=run.files, seed=seed, seconds=figures["seconds"])
    for block in run.blocks:
        folder.measured(block).unlink(missing_ok=True)


def _open_encoder(run: _Run, stack: ExitStack) -> LabellingEncoder:
    if is_address(run.settings.encoder):
        return EndpointEncoder(_open_endpoint(run, run.settings.encoder, run.settings.encoder_model, stack))
    return opened(run.cluster, open_local, run.settings.encoder, "--encoder")


def _check_judge(place: str) -> None:
    """Refuse a mistyped folder before the long pass that comes first."""
    if place and not is_address(place) and not Path(place).is_dir():
        raise ConfigError(
            f"{place}: no such folder, expected a cross-encoder's, or the address of an endpoint; check --judge"
        )


def _open_judge(run: _Run, stack: ExitStack) -> Judge:
    settings = run.settings
    if is_address(settings.judge):
        endpoint = _open_endpoint(run, settings.judge, settings.judge_model, stack)
        return EndpointJudge(endpoint, settings.orders, settings.draw.seed)
    return CrossEncoderJudge(opened(run.cluster, CrossScorer, Path(settings.judge)))


def _open_endpoint(run: _Run, url: str, model: str, stack: ExitStack) -> Endpoint:
    from dowse.models.endpoint import Endpoint, EndpointOptions

    asked = run.settings.endpoint
    options = EndpointOptions(
        url=url,
        model=model,
        key_variable=asked.key_variable,
        cache=run.cache,
        requests_per_minute=asked.requests_per_minute,
        concurrency=asked.concurrency,
    )
    endpoint = stack.enter_context(Endpoint(options))
    stack.callback(lambda: asked.used.update(asdict(endpoint.usage)))
    return endpoint


def _told_share(run: _Run, doing: str, done: int, pairs: int, share: float) -> None:
    run.progress(doing, done + int(pairs * share), run.pairs)


class _Share:
    """Turns texts embedded into pairs measured, for the progress of one block."""

    def __init__(self, run: _Run, done: int, pairs: int) -> None:
        self._run, self._done, self._pairs = run, done, pairs
        self._texts = 0

    def __call__(self, texts: int) -> None:
        self._texts += texts
        whole = self._pairs * (2 if self._run.settings.measures_code else 1)
        done = self._done + self._pairs * min(self._texts, whole) // whole
        self._run.progress("measuring", done, self._run.pairs)
