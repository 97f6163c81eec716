"""What a dump refuses: other settings, foreign places, full disks, wrong signals."""

import errno
import os

import numpy as np
import pytest

from schemas import layout
from schemas.errors import ConflictError, DamagedError, FormatError, InputError
from schemas.manifest import Capture
from tests.dumps import make_settings
from tests.stage1_teacher.prepared_dumps import TwinEngine, prepared_dump


def test_changed_settings_are_refused_field_by_field(dump):
    dump(prepared_dump())
    changed = make_settings(Capture(top_k=32, tail_samples=8), rows=40)
    with pytest.raises(ConflictError) as caught:
        dump(prepared_dump(settings=changed))
    text = str(caught.value)
    for field, old, new in (("top_k", "64", "32"), ("tail_samples", "64", "8")):
        line = next(line for line in text.splitlines() if field in line)
        assert old in line and new in line
    assert "temperatures" not in text


def test_a_path_that_holds_something_else_is_refused_and_left_alone(dump, tmp_path):
    other = tmp_path / "out"
    other.mkdir()
    (other / "thesis.tex").write_text("important")
    with pytest.raises(FormatError, match=str(other)):
        dump(prepared_dump())
    assert [f.name for f in other.iterdir()] == ["thesis.tex"]
    file = tmp_path / "file"
    file.write_text("important")
    with pytest.raises(InputError):
        dump(prepared_dump(), file)
    assert file.read_text() == "important"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_store_that_refuses_is_a_clear_error_and_nothing_is_half_written(
    dump, tmp_path, monkeypatch, code
):
    real = os.write

    def write(descriptor, data):
        if len(data) > 4000:  # a shard, not plan.json
            raise OSError(code, os.strerror(code))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(InputError) as caught:
        dump(prepared_dump())
    assert f"{os.strerror(code)}. " in str(caught.value)
    monkeypatch.undo()
    assert not list((tmp_path / "out/data").iterdir())
    assert not (tmp_path / "out" / layout.MANIFEST).exists()


def shifted(signals):
    """Every position's entries moved to the next position."""
    topk = signals.topk
    counts = np.roll(np.diff(topk.offsets), 1)
    last = topk.offsets[-2]
    order = np.r_[last : len(topk.ids), 0:last]
    topk.offsets[1:] = np.cumsum(counts)
    topk.ids[:], topk.logits[:] = topk.ids[order], topk.logits[order]
    return signals


def test_signals_that_slipped_are_refused(dump, tmp_path):
    engine = TwinEngine(change=shifted)
    with pytest.raises(DamagedError, match="alignment"):
        dump(prepared_dump(engine=engine))
    assert not list((tmp_path / "out/data").iterdir())


def test_an_engine_that_forgets_a_sample_is_refused(dump):
    class Forgetful(TwinEngine):
        def capture(self, samples, capture, seed):
            yield from list(super().capture(samples, capture, seed))[1:]

    with pytest.raises(DamagedError, match=r"left sample .* incomplete"):
        dump(prepared_dump(engine=Forgetful()))
