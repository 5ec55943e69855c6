"""Step 3 of 7, train: what every run on the library's trainer has in common, whichever model is trained.

It keeps its settings beside its checkpoints and is refused with others, stops with a reason when its loss diverges,
leaves out what is frozen, and computes in bfloat16 only where the hardware does.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from dowse.errors import ConfigError, DowseError, ModelError
from dowse.records import write_json

DIVERGED = 1.5
"""A loss that has grown to so many times what it began with does not come back."""


class StopsWhenDiverged(TrainerCallback):
    """Ends a run whose logged loss is no number, or has grown to `DIVERGED` times the first."""

    def __init__(self) -> None:
        self._first: float | None = None

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Look at every logged loss."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        self._first = self._first if self._first is not None else loss
        if not math.isfinite(loss) or loss > DIVERGED * max(self._first, 1e-6):
            raise ModelError(
                f"training diverges: the loss is {loss:.3g} at step {state.global_step}, having begun at "
                f"{self._first:.3g}; lower the learning rate, or warm up longer"
            )


def last_checkpoint(output: Path) -> str | None:
    """Return the newest checkpoint of a run that was written to its end; None if there is none.

    The library writes a checkpoint's files one after the other, `trainer_state.json` last: one that a kill cut short
    lacks it, or the end of it, and the run goes on from the one before.
    """
    found = sorted((output / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for checkpoint in reversed(found):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return str(checkpoint)
    return None


@contextmanager
def as_model_error(output: Path) -> Iterator[None]:
    """Turn what the library says of a checkpoint that does not fit into an error of ours."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        said = str(error).strip().splitlines()
        if not (output / "checkpoints").is_dir() or not any(
            word in str(error) for word in ("size mismatch", "checkpoint", "state_dict", "param_groups")
        ):
            raise
        raise ModelError(
            f"{output / 'checkpoints'}: the checkpoint does not fit this model ({said[0] if said else error!r}), "
            "expected one of the same base; remove the folder to begin anew"
        ) from None


@contextmanager
def claimed(output: Path, options: Any) -> Iterator[None]:
    """Keep the settings, a dataclass, beside the checkpoints while a run is prepared; one that fails leaves no claim.

    Raises:
        ConfigError: The output holds a run of other settings.
    """
    place = output / "checkpoints" / "settings.json"
    wanted = json.loads(json.dumps(asdict(options), default=str))
    if place.is_file():
        kept = json.loads(place.read_text(encoding="utf-8"))
        if kept != wanted:
            changed = ", ".join(sorted(key for key in wanted if kept.get(key) != wanted[key]))
            raise ConfigError(
                f"{output} holds a run with other settings ({changed}), expected the same to go on with; name another "
                "output folder, or remove this one"
            )
        yield
        return
    write_json(place, wanted)
    try:
        yield
    except DowseError:
        place.unlink()
        raise


def set_dropout(model: torch.nn.Module, share: float) -> None:
    """Give all dropout of a model one share."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share


def freeze_layers(model: torch.nn.Module, layers: int) -> None:
    """Take the token embeddings and the first layers out of training; nothing where `layers` is 0.

    Raises:
        ConfigError: The model has no more layers than that.
    """
    if not layers:
        return
    numbered = {name: re.search(r"\blayers?\.(\d+)\.", name) for name, _ in model.named_parameters()}
    last = max((int(found[1]) for found in numbered.values() if found), default=-1)
    if layers > last:
        raise ConfigError(f"frozen layers is {layers}, expected fewer than the {last + 1} of the model")
    for name, weights in model.named_parameters():
        found = numbered[name]
        if "embed" in name or (found and int(found[1]) < layers):
            weights.requires_grad_(False)


def computes_bfloat16() -> bool:
    """Whether the hardware has bfloat16; emulated, it is many times slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(able.get(unit) for unit in ("amx_bf16", "avx512_bf16", "bf16"))


def accelerator() -> str:
    """Return the name of the GPU that is trained on, or "none"."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
