"""Step 7 of 7, serve: the commands beside searching: mine, label, train, evaluate, serve and others.

Kept apart from the search commands, and importing their steps only when called: `dowse search` must load neither
pyarrow nor what else these need. Figures go to stdout, progress and everything else to stderr.
"""

from __future__ import annotations

import typer

from dowse.serve import care, evaluating, installing, labelling, mining, serving, storing, training


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for module in (mining, labelling, training, evaluating, serving, installing, care, storing):
        app.add_typer(module.commands)
