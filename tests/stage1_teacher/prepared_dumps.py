"""A dump that is ready to run without a model: seeded rows, and an engine made of the slow twin."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq

from schemas.manifest import Capture, Engine, Settings
from stage1_teacher.preparation import Prepared, Rendered
from stage1_teacher.samples import Sample, Signals
from stage1_teacher.units import unit_ranges
from tests.capture_twin import capture_twin
from tests.dumps import (
    TOKENIZER,
    VOCABULARY,
    make_samples,
    make_settings,
    make_states,
    with_hidden,
)


def dense_logits(sample: Sample, seed: int = 0) -> np.ndarray:
    """[L, V]: what the teacher "knows"; a function of the sample's ids only."""
    rng = np.random.default_rng([seed, *sample.input_ids.tolist()])
    return 3 * rng.standard_normal((len(sample.input_ids), VOCABULARY)).astype(np.float32)


@dataclass
class TwinEngine:
    """Captures by the fp64 twin, longest samples first; `before` is called before each sample."""

    before: Callable[[int], None] = lambda seen: None
    change: Callable[[Signals], Signals] = lambda signals: signals
    started: int = 0
    seen: list[str] = field(default_factory=list)

    def info(self) -> Engine:
        return Engine(name="synthetic", version="1")

    def start(self) -> None:
        self.started += 1

    def capture(self, samples, capture, seed):
        for index in sorted(range(len(samples)), key=lambda i: -len(samples[i].input_ids)):
            self.before(len(self.seen))
            self.seen.append(samples[index].id)
            signals = capture_twin(samples[index], dense_logits(samples[index]), capture, seed)
            yield index, self.change(self._with_hidden(signals, samples[index], capture))

    def _with_hidden(self, signals, sample, capture):
        return with_hidden(signals, make_states(sample, capture))


class Letters:
    """Token i is the letter chr(48 + i)."""

    def decode(self, ids, *, skip_special_tokens=True):
        return "".join(chr(48 + i) for i in ids)


def prepared_dump(
    *,
    rows: int = 40,
    unit_size: int = 8,
    engine: TwinEngine | None = None,
    capture: Capture | None = None,
    settings: Settings | None = None,
    batch_tokens: int = 64,
) -> Prepared:
    """`rows` random rows, each one sample."""
    samples = make_samples(rows)
    settings = settings or make_settings(capture or Capture(), rows=rows)
    return Prepared(
        settings=settings,
        units=unit_ranges(rows, unit_size),
        rows=lambda: iter(samples),
        render=lambda found: Rendered(samples=list(found), skipped=0, truncated=1),
        engine=engine or TwinEngine(),
        batch_tokens=batch_tokens,
        tokenizer_files={"tokenizer.json": TOKENIZER.encode()},
        decoder=Letters(),
    )


def rows_of(path):
    """Every row of a dump, by id."""
    tables = [pq.read_table(file).to_pylist() for file in sorted((path / "data").iterdir())]
    rows = [row for table in tables for row in table]
    assert len({row["id"] for row in rows}) == len(rows), "a sample is doubled"
    return {row["id"]: row for row in rows}


class Crash(Exception):
    """The engine dies."""
