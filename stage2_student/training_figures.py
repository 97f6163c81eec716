"""What a training says of itself: means since the last line of train_log.jsonl, over all ranks."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from schemas.progress import Progress, Report

LOG = "train_log.jsonl"
_SECONDS_BETWEEN = 0.5
_SUMS = 4
"""Before the terms of the loss: the loss, the weights, the tokens, the places for them."""

Reduce = Callable[[torch.Tensor], torch.Tensor]
"""Sums a tensor over all ranks."""


@dataclass(slots=True, kw_only=True)
class Figures:
    """Sums of one rank since the last line, and totals of all ranks before it.

    Attributes:
        terms: the labels of the objective.
        tokens: tokens of all lines so far, over all ranks; padding is not counted.
        seconds: training time of all lines so far.
    """

    terms: Sequence[str]
    tokens: int = 0
    seconds: float = 0.0
    _sums: torch.Tensor = field(init=False)
    _waited: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._sums = torch.zeros(_SUMS + len(self.terms), dtype=torch.float64)

    def start(self) -> None:
        """Training begins now: what went before does not count as its time."""
        self._since = time.monotonic()

    def waited(self, seconds: float) -> None:
        """The training waited that long for its data."""
        self._waited += seconds

    def add(
        self, total: torch.Tensor, terms: torch.Tensor, weights: float, tokens: int, places: int
    ) -> None:
        """One micro-batch: its loss, its terms' plain sums, the positions' weights, its size."""
        counts = torch.tensor([weights, tokens, places], dtype=torch.float64)
        parts = [total.detach().reshape(1), terms.detach()]
        loss, each = (part.to("cpu", torch.float64) for part in parts)
        self._sums += torch.cat([loss, counts, each])

    def line(self, reduce: Reduce) -> dict[str, float]:
        """The means since the last line, which ends here; every rank must call this.

        `loss` is what is minimised, T² and weights of terms in it; a term is its plain mean in
        nats. `tokens` and `seconds` count from the beginning of the training. `fill` is the share
        of the rows' places that held a token, `wait_share` that of the time without data.
        """
        loss, weights, tokens, places, *terms = reduce(self._sums).tolist()
        seconds = time.monotonic() - self._since
        self.tokens += int(tokens)
        self.seconds += seconds
        found = {
            "loss": loss / max(weights, 1e-9),
            **{n: sum_ / max(weights, 1e-9) for n, sum_ in zip(self.terms, terms, strict=True)},
            "tokens": self.tokens,
            "seconds": self.seconds,
            "tokens_per_second": tokens / max(seconds, 1e-9),
            "fill": tokens / max(places, 1),
            "wait_share": self._waited / max(seconds, 1e-9),
        }
        self._sums.zero_()
        self._waited, self._since = 0.0, time.monotonic()
        return found

    def now(self) -> dict[str, float]:
        """Live figures of this rank alone, for the progress bar."""
        loss, weights, tokens, _ = self._sums[:_SUMS].tolist()
        seconds = max(time.monotonic() - self._since, 1e-9)
        found = {"loss": loss / weights} if weights else {}
        return {**found, "tokens/s": tokens / seconds, "wait_share": self._waited / seconds}

    def state(self, reduce: Reduce) -> dict[str, Any]:
        """JSON-able, for a checkpoint; every rank must call this."""
        return {
            "sums": reduce(self._sums).tolist(),
            "tokens": self.tokens,
            "seconds": self.seconds + time.monotonic() - self._since,
        }

    def load(self, state: dict[str, Any], first_rank: bool) -> None:
        """Goes on from a state; the sums of all ranks go to the first."""
        self.tokens, self.seconds = state["tokens"], state["seconds"]
        if first_rank:
            self._sums.copy_(torch.tensor(state["sums"], dtype=torch.float64))


class LiveReport:
    """Tells the progress of the steps, a few times a second at most."""

    def __init__(self, report: Report, steps: int) -> None:
        self._report = report
        self._steps = steps
        self._told = 0.0

    def tell(self, step: int, figures: Figures) -> None:
        """Step `step` is done."""
        if step < self._steps and time.monotonic() - self._told < _SECONDS_BETWEEN:
            return
        self._told = time.monotonic()
        shown = {"step": float(step), **figures.now()}
        self._report(
            Progress(stage="train", done=step, total=self._steps, unit="steps", figures=shown)
        )


def append_line(folder: Path, line: dict[str, Any]) -> None:
    """Adds a line to train_log.jsonl."""
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of train_log.jsonl; one that a kill cut short is left out."""
    path = folder / LOG
    text = path.read_text("utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def cut_lines(folder: Path, step: int) -> None:
    """Drops lines after a step, which a resumed training is going to write again."""
    kept = [json.dumps(line) + "\n" for line in read_lines(folder) if line["step"] <= step]
    temporary = folder / f".{LOG}.part"
    temporary.write_text("".join(kept), "utf-8")
    os.replace(temporary, folder / LOG)
