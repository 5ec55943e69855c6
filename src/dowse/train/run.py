"""Step 3 of 7, train: what every run on the library's trainer has in common, whichever model is trained.

It keeps its settings beside its checkpoints and is refused with others, stops with a reason when its loss diverges,
leaves out what is frozen, and computes in bfloat16 only where the hardware does.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from transformers import Trainer, TrainerCallback, TrainingArguments

from dowse.config import check_ranges
from dowse.errors import ConfigError, ModelError
from dowse.lock import alone
from dowse.records import machine, write_json, write_manifest
from dowse.train.rows import RowOptions, TrainingRows

Arguments = TypeVar("Arguments", bound=TrainingArguments)

DIVERGED = 1.5
"""A loss that has grown to so many times what it began with does not come back."""


_SECONDS = "seconds.json"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How any model is trained; each kind has defaults of its own.

    Attributes:
        rows: What is trained on.
        epochs: Passes over the rows; with `max_steps` above 0 so many steps instead.
        warmup_share: Share of the steps in which the learning rate rises; then it falls to 0 in a line.
        frozen_layers: With this above 0, the token embeddings and so many of the first layers stay as they are in the
            base: a third less to compute with half of them, and what the base has learnt elsewhere is better kept.
        dropout: In all layers; no part of the papers, and 0 trains faster.
        bf16: Compute in bfloat16 where the hardware can; emulated, it is many times slower than float32.
        log_steps: Steps between two lines of the log.
        save_steps: Steps between two checkpoints, each with an evaluation.
    """

    rows: RowOptions = field(default_factory=RowOptions)
    epochs: float = 1.0
    max_steps: int = -1
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    warmup_share: float = 0.1
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    frozen_layers: int = 0
    dropout: float = 0.0
    bf16: bool = True
    log_steps: int = 20
    save_steps: int = 500
    seed: int = 0


def check_run(options: RunOptions) -> None:
    """Refuse numbers that no training can have; for the `__post_init__` of each kind of options.

    Raises:
        ConfigError: One is out of its range.
    """
    check_ranges(
        options,
        epochs=(1e-3, math.inf),
        max_steps=(-1, math.inf),
        learning_rate=(0, math.inf),
        weight_decay=(0, math.inf),
        max_grad_norm=(0, math.inf),
        gradient_accumulation_steps=(1, math.inf),
        frozen_layers=(0, math.inf),
        dropout=(0, 1),
        log_steps=(1, math.inf),
        save_steps=(1, math.inf),
    )
    if not 0 <= options.warmup_share < 1:  # the library would take 1 for a single step
        raise ConfigError(f"warmup_share is {options.warmup_share}, expected 0 up to but not 1; correct the setting")


def arguments_of(
    kind: type[Arguments], options: RunOptions, output: Path, *, batch_size: int, evaluates: bool, workers: int
) -> Arguments:
    """Return what the library's trainer is told of a run.

    Args:
        kind: The library's arguments for this kind of model.
        options: Of the run.
        output: The model's folder; checkpoints come below it.
        batch_size: Rows in a batch, of one process.
        evaluates: Whether every checkpoint is evaluated.
        workers: Processes that make batches beside a GPU; on a CPU the training makes them itself.
    """
    has_gpu, bf16 = torch.cuda.is_available(), options.bf16 and computes_bfloat16()
    return kind(
        output_dir=str(output / "checkpoints"),
        num_train_epochs=options.epochs,
        max_steps=options.max_steps,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        activation_checkpointing=options.gradient_checkpointing,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        warmup_steps=options.warmup_share,
        optim="adamw_torch_fused",
        bf16=bf16,
        use_cpu=bf16 and not torch.accelerator.is_available(),  # said aloud, or bfloat16 on a CPU is refused
        seed=options.seed,
        logging_steps=options.log_steps,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=options.save_steps,
        save_steps=options.save_steps,
        save_total_limit=1,
        report_to="tensorboard",
        dataloader_pin_memory=has_gpu,
        dataloader_num_workers=workers if has_gpu else 0,
        disable_tqdm=True,
    )


def card_of(trainer: Trainer, options: RunOptions, rows: Mapping[str, int], seconds: float) -> dict[str, Any]:
    """Return what a model card states of a finished run: its settings, rows, steps, machine, seconds and log."""
    return {
        "settings": json.loads(json.dumps(asdict(options), default=str)),
        "rows": dict(rows),
        "steps": trainer.state.global_step,
        "machine": machine() | {"accelerator": accelerator()},
        "seconds": round(seconds),
        "log": trainer.state.log_history,
    }


def describe(
    output: Path, card: Mapping[str, Any], inputs: Sequence[Path], settings: Mapping[str, Any], seed: int
) -> None:
    """Write `training.json`, the card, and `manifest.json` beside a trained model."""
    write_json(output / "training.json", card)
    write_manifest(output, config=settings, inputs=inputs, seed=seed, seconds=card["seconds"])


class StopsWhenDiverged(TrainerCallback):
    """Ends a run whose logged loss is no number, or has grown to `DIVERGED` times the first."""

    def __init__(self) -> None:
        self._first: float | None = None

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Look at every logged loss.

        Raises:
            ModelError: It diverges.
        """
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if self._first is None:  # a run that goes on has its first loss in its history
            self._first = next((line["loss"] for line in state.log_history if "loss" in line), loss)
        if not math.isfinite(loss) or loss > DIVERGED * max(self._first, 1e-6):
            raise ModelError(
                f"training diverges: the loss is {loss:.3g} at step {state.global_step}, having begun at "
                f"{self._first:.3g}; lower the learning rate, or warm up longer"
            )


class Stopwatch(TrainerCallback):
    """Counts the seconds of a run over its stops: every checkpoint holds those that led to it."""

    def __init__(self, output: Path) -> None:
        """Go on from what the last checkpoint holds, if there is one."""
        self._begun = time.monotonic()
        checkpoint = last_checkpoint(output)
        kept = Path(checkpoint) / _SECONDS if checkpoint else None
        self._before = (
            float(json.loads(kept.read_text(encoding="utf-8"))["seconds"]) if kept and kept.is_file() else 0.0
        )

    @property
    def seconds(self) -> float:
        """All seconds until now."""
        return self._before + time.monotonic() - self._begun

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the seconds in the checkpoint that was just written."""
        if writes():
            write_json(Path(args.output_dir) / f"checkpoint-{state.global_step}" / _SECONDS, {"seconds": self.seconds})


def writes() -> bool:
    """Whether this process writes the model: the only one, or the first of those that torchrun started."""
    return not dist.is_initialized() or dist.get_rank() == 0


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


def first_epoch(output: Path) -> int:
    """Return the epoch that a run begins in: that of its last checkpoint, 0 where there is none."""
    checkpoint = last_checkpoint(output)
    if checkpoint is None:
        return 0
    return int(json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8")).get("epoch") or 0)


@contextmanager
def as_model_error(output: Path) -> Iterator[None]:
    """Turn what the library says of memory, of a disk, or of a checkpoint that does not fit into errors of ours.

    Raises:
        ModelError: It said one of these.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise ModelError(
            "the memory of the GPU does not hold a batch; lower batch_size, or set gradient_checkpointing = true"
        ) from None
    except OSError as error:
        if error.errno is None:
            raise
        raise ModelError(
            f"{error.filename or output}: {error.strerror}; mend that and run it again: it goes on from "
            "its last checkpoint"
        ) from None
    except (RuntimeError, ValueError, KeyError) as error:
        said = str(error).strip().splitlines()
        if last_checkpoint(output) is None or not any(
            word in str(error) for word in ("size mismatch", "checkpoint", "state_dict", "param_groups")
        ):
            raise
        raise ModelError(
            f"{output / 'checkpoints'}: the checkpoint does not fit this model ({said[0] if said else error!r}), "
            "expected one of the same base; remove the folder to begin anew"
        ) from None


@contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """Hold the output while a run goes on; of the processes that torchrun starts, the first holds it for all.

    Raises:
        ConfigError: Another run is writing there.
    """
    if int(os.environ.get("RANK", "0")):  # before the processes have found each other, so `writes` cannot tell yet
        yield
        return
    with alone(output / "checkpoints"):
        yield


@contextmanager
def claimed(output: Path, settings: Mapping[str, Any], rows: TrainingRows) -> Iterator[None]:
    """Keep settings and a hash of the rows beside the checkpoints while a run is prepared.

    A preparation that fails leaves no claim.

    Raises:
        ConfigError: The output holds a run of other settings or rows.
    """
    place = output / "checkpoints" / "settings.json"
    wanted = json.loads(json.dumps({**settings, "trained_on": rows.digest()}, default=str))
    if place.is_file():
        kept = dict.fromkeys(wanted) | json.loads(place.read_text(encoding="utf-8"))  # null: an older run's lack of it
        if kept != wanted:
            changed = ", ".join(sorted(key for key in kept if kept[key] != wanted.get(key)))
            raise ConfigError(
                f"{output} holds a run with other settings ({changed}), expected the same to go on with (trained_on is "
                "what it learns from); name another output folder, or remove this one"
            )
        yield
        return
    write_json(place, wanted)
    try:
        yield
    except BaseException:  # whatever it was: nothing was begun that a next run could go on with
        place.unlink(missing_ok=True)
        raise


def set_dropout(model: torch.nn.Module, share: float) -> None:
    """Give all dropout of a model one share: its modules, and the numbers that attention keeps, as Qwen2's does."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        for name, value in list(vars(module).items()):
            if name.endswith("dropout") and type(value) in (int, float):
                setattr(module, name, share)


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
