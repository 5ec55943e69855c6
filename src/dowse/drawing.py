"""How drawings look, in reports and in the documents, as data for matplotlib, which is not imported here."""

from __future__ import annotations

from typing import Any

COLOURS = ("#2f6690", "#d1495b", "#edae49", "#66a182", "#7d5ba6", "#8d99ae")
INK = "#1f2933"

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa5b1",
    "text.color": INK,
    "axes.labelcolor": INK,
}
"""For `matplotlib.rc_context`, when a figure is begun and when it is saved."""
