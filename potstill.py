"""potstill from Python: the commands' words as functions, their options as keyword arguments.

    import potstill

    potstill.dump(teacher="org/model", corpus="texts.jsonl", out="dump")
    potstill.augment(teacher="org/model", corpus="seeds.jsonl", out="prompts.jsonl.zst")
    potstill.verify("dump")
    potstill.train(dump=["dump"], student="org/small", out="student", steps=1000)
    potstill.evaluate(student="student", dump=["dump"])
    potstill.report("student")

    for row in potstill.open_dump("dump").rows():
        print(row.id, row.topk_ids[0], row.topk_logprobs[0])

Nothing is printed; `on_progress` is told what is going on. Errors are those of `schemas.errors`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.progress import Report, ignore

if TYPE_CHECKING:
    from pipeline.dump_rows import OpenedDump
    from pipeline.report import ReportSummary
    from schemas.verify import Verification
    from stage1_teacher.augment import AugmentSummary
    from stage1_teacher.run import DumpSummary
    from stage2_student.evaluate import Evaluation
    from stage2_student.run import TrainSummary

__all__ = ["augment", "dump", "evaluate", "open_dump", "report", "train", "verify"]


def dump(*, on_progress: Report = ignore, **settings: Any) -> "DumpSummary":
    """Stage one: `potstill dump`; the settings are those of DumpSettings."""
    from pipeline.configuration import from_keywords
    from stage1_teacher.run import dump as run
    from stage1_teacher.settings import DumpSettings

    return run(from_keywords(DumpSettings, settings, "dump"), on_progress)


def augment(*, on_progress: Report = ignore, **settings: Any) -> "AugmentSummary":
    """New prompts after seeds: `potstill augment`; the settings are those of AugmentSettings."""
    from pipeline.configuration import from_keywords
    from stage1_teacher.augment import augment as run
    from stage1_teacher.augment_settings import AugmentSettings

    return run(from_keywords(AugmentSettings, settings, "augment"), on_progress)


def train(*, on_progress: Report = ignore, **settings: Any) -> "TrainSummary":
    """Stage two: `potstill train`; the settings are those of TrainSettings."""
    from pipeline.configuration import from_keywords
    from stage2_student.run import train as run
    from stage2_student.settings import TrainSettings

    return run(from_keywords(TrainSettings, settings, "train"), on_progress)


def evaluate(*, on_progress: Report = ignore, **settings: Any) -> "Evaluation":
    """`potstill evaluate`: measures a student on held-out rows of dumps."""
    from pipeline.configuration import from_keywords
    from stage2_student.evaluate import evaluate as run
    from stage2_student.evaluate_settings import EvaluateSettings

    return run(from_keywords(EvaluateSettings, settings, "evaluate"), on_progress)


def verify(dump: str | Path, *, on_progress: Report = ignore) -> "Verification":
    """`potstill verify`: proves a dump whole and aligned; look at `.ok` and `.findings`."""
    from schemas.verify import verify as run

    return run(str(dump), on_progress)


def report(out: str | Path) -> "ReportSummary":
    """`potstill report`: writes report.html and report.json into a student's folder."""
    from pipeline.report import write_report

    return write_report(Path(out))


def open_dump(path: str | Path) -> "OpenedDump":
    """Opens a dump, local or by an fsspec URL; `.rows()` streams its samples, decoded."""
    from pipeline.dump_rows import OpenedDump
    from schemas.dump_folder import open_dump as opened

    return OpenedDump(folder=opened(path))
