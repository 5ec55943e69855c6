"""The report: a drawing that opens and shows what was counted, samples of suspects before and after."""

import re
from dataclasses import replace

import numpy as np
import pytest
from endpoints import EndpointServer
from labelling import rows, write_pairs
from PIL import Image

from dowse.label.pipeline import label_pairs
from dowse.label.report import draw_labels, rows_fitted, write_report
from dowse.label.settings import LabelSettings
from dowse.label.suspects import Mixture

COLOURS = {"random": (0x7D, 0x5B, 0xA6), "suspect": (0xED, 0xAE, 0x49), "positive": (0x2F, 0x66, 0x90)}
"""The fifth, third and first of all drawings."""


def pixels(path, colour):
    with Image.open(path) as image:
        drawn = np.asarray(image.convert("RGB")).astype(int)
    return (np.abs(drawn - colour).sum(axis=2) < 12).nonzero()


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A judged folder with its report."""
    place = tmp_path_factory.mktemp("reported")
    pairs = write_pairs(place / "pairs", rows(count=100))
    with EndpointServer(
        lambda messages: "A" if "close" in messages[1]["content"].split("Code F")[0] else "F"
    ) as server:
        settings = LabelSettings(encoder="static", workers=1, judge=server.url, judge_model="judge-1")
        figures = label_pairs(pairs, place / "labelled", settings)
    return write_report(place / "labelled", figures), figures


def test_the_drawing_holds_the_kinds_there_are(reported):
    path, figures = reported
    drawing = path.with_name("labels.png")
    with Image.open(drawing) as image:
        assert image.size == (1170, 624)
    there = {kind: bool(pixels(drawing, colour)[0].size) for kind, colour in COLOURS.items()}
    ordinary = figures["counts"]["rows"] - figures["counts"]["queries"] - figures["counts"]["suspects"]
    assert there == {"random": ordinary > 0, "suspect": True, "positive": True}


def test_the_bars_are_as_high_as_the_counts_and_the_threshold_is_marked(tmp_path):
    bins = {kind: np.zeros(200, dtype=np.int64) for kind in ("random", "hard", "suspect", "positive")}
    bins["random"][100:120] = 40
    bins["positive"][150:160] = 20
    draw_labels(tmp_path / "with.png", bins, Mixture((0.55, 0.77), (0.03, 0.015), (0.8, 0.2), True, 0.7, 1000))
    draw_labels(tmp_path / "without.png", bins, None)
    below_legend = 300
    rows_of = {kind: pixels(tmp_path / "without.png", COLOURS[kind])[0] for kind in ("random", "positive")}
    ground = max(rows_of["random"].max(), rows_of["positive"].max())
    high = {kind: ground - np.min(found[found > below_legend]) for kind, found in rows_of.items()}
    assert high["positive"] > 0.4 * (ground - rows_of["random"].min())
    assert len(pixels(tmp_path / "with.png", (0x1F, 0x29, 0x33))[0]) > len(
        pixels(tmp_path / "without.png", (0x1F, 0x29, 0x33))[0]
    )


def test_the_curves_stand_for_the_rows_that_were_fitted():
    bins = {kind: np.array([count]) for kind, count in (("random", 5), ("hard", 3), ("rejected", 90), ("positive", 2))}
    with_positives = Mixture((0.55, 0.77), (0.03, 0.015), (0.8, 0.2), True, 0.7, 1000)
    assert rows_fitted(bins, with_positives) == 10
    assert rows_fitted(bins, replace(with_positives, has_positives=False)) == 8


def test_the_page_shows_suspects_before_and_after(reported):
    path, figures = reported
    page = path.read_text()
    assert "![measured labels by kind](labels.png)" in page
    assert f"s* = {figures['mixture']['threshold']:.4f}" in page
    assert f"{figures['counts']['suspects']:,} suspects" in page
    raised = page.split("## Raised: a sample")[1].split("## Suspect, not raised: a sample")[0]
    shown = [tuple(map(float, found)) for found in re.findall(r"label before (\S+), after (\S+), judged by", raised)]
    assert len(shown) == 10
    assert all(after - before == pytest.approx(0.025, abs=2e-4) for before, after in shown)
    left = page.split("## Suspect, not raised: a sample")[1]
    assert re.findall(r"label before (\S+), after (\S+),", left)
    assert all(before == after for before, after in re.findall(r"label before (\S+), after (\S+),", left))
    assert page.count("The positive, `") == page.count("\n### ") == 20
    assert write_report(path.parent, figures).read_text() == page


def test_labels_too_few_for_a_mixture_are_drawn_without(tmp_path):
    pairs = write_pairs(tmp_path / "pairs", rows(count=4))
    figures = label_pairs(pairs, tmp_path / "labelled", LabelSettings(encoder="static", workers=1))
    assert figures["mixture"] is None
    assert "there is no threshold" in write_report(tmp_path / "labelled", figures).read_text()
    assert pixels(tmp_path / "labelled" / "labels.png", COLOURS["positive"])[0].size
