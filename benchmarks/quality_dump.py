"""The dump behind the cached arms, written and read by the product's own code."""

from pathlib import Path

import numpy as np
import torch

from benchmarks.quality_training import LossOf
from benchmarks.quality_windows import WINDOW
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.dump_folder import DumpFolder, open_dump
from schemas.manifest import Capture, Corpus, Limits, Settings, Teacher, Tokenizer
from stage1_teacher.commit import open_work
from stage1_teacher.engine import ENGINES, EngineSettings
from stage1_teacher.samples import Sample, Segment
from stage1_teacher.shard_writer import CapturedRows, Notes, Recipe, write_unit
from stage2_student.distillation import distillation_loss
from stage2_student.objective import Objective
from stage2_student.stream import StreamSettings, open_stream
from stage2_student.targets import Targets

POLICIES = {
    "default": Capture(temperatures=[1.0]),
    "tempered": Capture(temperatures=[1.0, 2.0]),
    "narrow": Capture(temperatures=[1.0], min_prob=1 / 64),
    "top8": Capture(temperatures=[1.0], min_prob=None, top_k=8, tail_samples=0),
    "top64": Capture(temperatures=[1.0], min_prob=None, top_k=64, tail_samples=0),
}
"""What the dumps keep: the default, p ≥ 1/64 with the same tail sample, and heads without one."""


def dump_windows(
    folder: Path, teacher: Path, windows: np.ndarray, vocabulary: int, capture: Capture
) -> DumpFolder:
    """Dumps the windows, in order, with a bf16 teacher."""
    engine = ENGINES["transformers"](EngineSettings(model=teacher, dtype="bfloat16"))
    settings = _settings(engine.info(), capture, len(windows), vocabulary)
    recipe = Recipe(
        capture=capture,
        codec=CODECS[settings.codec],
        columns=shard_columns(capture.temperatures),
        seed=0,
        hidden=None,
        batch_tokens=2048,
    )
    work = open_work(folder, settings, [(0, len(windows))], created_by="benchmarks/quality.py")
    samples = [_sample(index, window) for index, window in enumerate(windows)]
    for unit in work.units():
        with work.attempt(unit) as attempt:
            source = CapturedRows(engine=engine, recipe=recipe)
            rows = source.rows(samples, Notes(), lambda _: None)
            sums = write_unit(attempt, rows, recipe)
            attempt.commit(sums.counts(skipped=0, truncated=0))
    work.finalise()
    return open_dump(folder)


def _sample(index: int, window: np.ndarray) -> Sample:
    return Sample(
        id=f"w{index:05d}",
        source="windows",
        input_ids=window,
        segments=(Segment(kind="text", start=0, end=WINDOW),),
        captured=((0, WINDOW - 1),),
    )


def _settings(engine: object, capture: Capture, rows: int, vocabulary: int) -> Settings:
    nothing = "sha256:" + "0" * 64
    return Settings(
        teacher=Teacher(
            name="SmolLM2-135M-Instruct",
            weights=nothing,
            architecture="LlamaForCausalLM",
            parameters=134515008,
            dtype="bfloat16",
            license="apache-2.0",
        ),
        engine=engine,
        tokenizer=Tokenizer(
            fingerprint=nothing, size=vocabulary, head_size=vocabulary, special_tokens={}
        ),
        corpus=Corpus(name="windows", fingerprint=nothing, rows=rows, license="mixed"),
        capture=capture,
        limits=Limits(max_length=WINDOW, unit_size=rows),
    )


def read_targets(dump: DumpFolder) -> list[Targets]:
    """The teacher's signals of every window, in order, through the product's reader."""
    temperatures = tuple(dump.manifest.capture.temperatures)
    settings = StreamSettings(
        rows_per_step=1, max_length=WINDOW, shuffle=False, temperatures=temperatures
    )
    batches = list(open_stream([dump], settings).epoch_batches(0))
    found = {batch.documents[0].id: batch.targets for batch in batches}
    return [found[f"w{index:05d}"] for index in range(len(found))]


def cached_loss(targets: list[Targets], objective: Objective) -> LossOf:
    """A loss through the fused head against the stored signals."""

    def loss_of(hidden: torch.Tensor, weight: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        for place, window in enumerate(chosen):
            rows = targets[window].rows_N + place * WINDOW
            loss = distillation_loss(hidden[rows], weight, targets[window], objective)
            total = total + loss.total
        return total / (len(chosen) * (WINDOW - 1))

    return loss_of
