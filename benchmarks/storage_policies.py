"""The policies of `benchmarks.storage`, out of two captures of a corpus.

A fixed k and a threshold without a sample follow exactly from the most probable 128 entries; the
default's tail sample does not, and is captured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.codec_sample import WIDEST, kept, top
from schemas.manifest import Capture, Settings
from schemas.progress import ignore
from stage1_teacher.preparation import prepare
from stage1_teacher.samples import Sample, Signals
from stage1_teacher.settings import DumpSettings
from stage1_teacher.shard_tables import Row

WIDE = 151_936
"""Rows of a wide head, Qwen's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is kept.

    Attributes:
        capture: the policy.
        bytes_aim: bytes per token on a mixed English corpus, at most; None without an aim.
        head_size: ids are spread over so many; None for the teacher's own.
    """

    capture: Capture
    bytes_aim: float | None
    head_size: int | None = None


POLICIES: dict[str, Policy] = {
    "default": Policy(capture=Capture(temperatures=[1.0]), bytes_aim=80),
    "k=64": Policy(capture=top(64), bytes_aim=131),
    "k=128": Policy(capture=top(128), bytes_aim=253),
    "p>=1/1024": Policy(
        capture=Capture(min_prob=1 / 1024, tail_samples=0, temperatures=[1.0]), bytes_aim=77
    ),
    "k=64, ids spread to 152k": Policy(capture=top(64), bytes_aim=145, head_size=WIDE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSample:
    """A corpus as the teacher saw it: its widest entries, and the default policy's."""

    settings: Settings
    samples: list[Sample]
    widest: Mapping[int, Signals]
    default: Mapping[int, Signals]

    @classmethod
    def captured(cls, settings: DumpSettings) -> "StoredSample":
        """Runs the teacher twice."""
        prepared = prepare(settings, ignore)
        samples = prepared.render(list(prepared.rows())).samples
        samples = [sample for sample in samples if len(sample.positions)]
        return cls(
            settings=prepared.settings,
            samples=samples,
            widest=dict(prepared.engine.capture(samples, top(WIDEST), 0)),
            default=dict(prepared.engine.capture(samples, POLICIES["default"].capture, 0)),
        )

    @property
    def tokens(self) -> int:
        """Of all sequences."""
        return sum(len(sample.input_ids) for sample in self.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRows:
    """The rows of a dump by one policy, and its settings."""

    policy: Policy
    settings: Settings
    rows: list[Row]

    @property
    def tokens(self) -> int:
        """Of all rows."""
        return sum(len(sample.input_ids) for sample, _ in self.rows)


def policy_rows(sample: StoredSample, name: str) -> PolicyRows:
    """What a dump by a policy of `POLICIES` would hold."""
    policy, tokenizer = POLICIES[name], sample.settings.tokenizer
    drawn = policy.capture.tail_samples
    signals = [
        sample.default[index] if drawn else kept(sample.widest[index], policy.capture)
        for index in range(len(sample.samples))
    ]
    rows = list(zip(sample.samples, signals, strict=True))
    if policy.head_size:
        scale = policy.head_size / tokenizer.head_size
        rows = [_spread(row, scale) for row in rows]
        tokenizer = tokenizer.model_copy(update={"head_size": policy.head_size})
    changed = {"capture": policy.capture, "tokenizer": tokenizer}
    return PolicyRows(policy=policy, settings=sample.settings.model_copy(update=changed), rows=rows)


def _spread(row: Row, scale: float) -> Row:
    """The same with every id moved to its place in a wider vocabulary."""
    sample, signals = row
    entries = replace(signals.topk, ids=_moved(signals.topk.ids, scale))
    return replace(sample, input_ids=_moved(sample.input_ids, scale)), replace(
        signals, topk=entries
    )


def _moved(ids: npt.NDArray[np.int32], scale: float) -> npt.NDArray[np.int32]:
    return (ids * scale).astype(np.int32)
