"""Augmenting that is interrupted, finished before, or in another's way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import ConflictError, CorpusError, InputError, StoppedError
from stage1_teacher.augment import augment
from stage1_teacher.augment_work import AugmentWork
from stage1_teacher.corpus import open_corpus
from stage1_teacher.corpus_rows import Columns
from tests.stage1_teacher.augmenting import ScriptedEngine, echo, settings_of


def test_an_interrupted_run_goes_on_and_ends_as_if_nothing_had_happened(
    augment_teacher: Path, tmp_path: Path, scripted_augment: Callable[..., ScriptedEngine]
) -> None:
    whole = tmp_path / "whole.jsonl"
    scripted_augment(echo)
    augment(settings_of(augment_teacher, tmp_path, out=str(whole)))
    engine = scripted_augment(echo)
    engine.stop_after = 5
    settings = settings_of(augment_teacher, tmp_path, out=str(tmp_path / "new.jsonl"))
    with pytest.raises(StoppedError, match="run the same command again"):
        augment(settings)
    assert not Path(settings.out).exists()
    with pytest.raises(CorpusError):  # what is under way is no corpus
        list(open_corpus(str(tmp_path / "new.jsonl"), Columns()).rows())
    again = scripted_augment(echo)
    (tmp_path / ".new.jsonl.0123.tmp").write_text("half")
    (tmp_path / ".new.jsonl.work" / ".part-000001.jsonl.0123.tmp").write_text("half")
    done = augment(settings)
    assert not {"apples+one", "apples+two", "sea+one", "sea+two"} & set(again.asked)
    assert Path(settings.out).read_bytes() == whole.read_bytes()
    assert not done.finished_before
    # what a kill may leave in the middle of a write is cleared away
    left = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "new")))
    assert left == ["new.jsonl", "new.jsonl.report.json"]


def test_a_finished_corpus_is_left_as_it_is(
    augment_teacher: Path, tmp_path: Path, scripted_augment: Callable[..., ScriptedEngine]
) -> None:
    scripted_augment(echo)
    settings = settings_of(augment_teacher, tmp_path)
    first = augment(settings)
    before = Path(settings.out).read_bytes()
    engine = scripted_augment(echo)
    second = augment(settings)
    assert second.finished_before
    assert engine.asked == []
    assert Path(settings.out).read_bytes() == before
    same = ("written", "asked", "rejected", "written_by_template", "bytes", "seeds")
    assert all(getattr(first, name) == getattr(second, name) for name in same)


def test_other_settings_foreign_files_and_other_processes_conflict(
    augment_teacher: Path, tmp_path: Path, scripted_augment: Callable[..., ScriptedEngine]
) -> None:
    engine = scripted_augment(echo)
    settings = settings_of(augment_teacher, tmp_path)
    engine.stop_after = 5
    with pytest.raises(StoppedError):
        augment(settings)
    with pytest.raises(ConflictError, match=r"seed: 1 here, 0 there"):
        augment(settings_of(augment_teacher, tmp_path, seed=1))
    with (
        AugmentWork(Path(settings.out)).held(),
        pytest.raises(ConflictError, match="another process"),
    ):
        augment(settings)
    engine.stop_after = None
    augment(settings)
    with pytest.raises(ConflictError, match=r"similarity: 0\.5 here, 0\.8 there"):
        augment(settings_of(augment_teacher, tmp_path, similarity=0.5))
    (tmp_path / "mine.jsonl").write_text("{}\n")
    with pytest.raises(ConflictError, match="exists already"):
        augment(settings_of(augment_teacher, tmp_path, out=str(tmp_path / "mine.jsonl")))
    assert (tmp_path / "mine.jsonl").read_text() == "{}\n"


def test_nothing_left_is_an_error_and_no_file(
    augment_teacher: Path, tmp_path: Path, scripted_augment: Callable[..., ScriptedEngine]
) -> None:
    scripted_augment(lambda _: "cut short")
    settings = settings_of(augment_teacher, tmp_path)
    with pytest.raises(InputError, match="6 cut by --max-new-tokens, 2 the seed leaves"):
        augment(settings)
    assert not Path(settings.out).exists()
