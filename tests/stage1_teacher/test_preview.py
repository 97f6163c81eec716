"""The preview shows what a dump would capture, and starts nothing."""

import pytest

from stage1_teacher.preview import preview
from stage1_teacher.settings import DumpSettings
from tests.tiny import tiny_teacher, tiny_tokenizer, write_rows

TURNS = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "This é."}]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tiny_teacher(tmp_path_factory.mktemp("teacher"), bos=True)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()  # a preview reads no weights
    return folder


def shown(teacher, tmp_path, rows, count=5, **settings):
    corpus = write_rows(tmp_path / "c.jsonl", rows)
    options = {"teacher": str(teacher), "corpus": str(corpus), "out": str(tmp_path / "dump")}
    return preview(DumpSettings(**options, **settings), count)


def test_a_conversation_in_spans(teacher, tmp_path):
    (sample,) = shown(teacher, tmp_path, [{"messages": TURNS, "id": "a", "source": "s"}])
    looks = [(span.text, span.kind, span.captured, span.special) for span in sample.spans]
    assert looks[-5:] == [
        ("<|im_start|>", "template", False, True),
        ("assistant\n", "template", False, False),
        ("This é.", "response", True, False),
        ("<|im_end|>", "response", True, True),
        ("\n", "template", False, False),
    ]
    assert (sample.id, sample.source, sample.where) == ("a", "s", f"{tmp_path}/c.jsonl, line 1")
    assert (sample.bos, sample.cut, sample.skipped, sample.windows) == (0, False, "", 1)
    answer = tiny_tokenizer()(TURNS[1]["content"]).input_ids
    assert sample.positions == len(answer) + 1


def test_windows_bos_and_skipped_rows(teacher, tmp_path):
    rows = [{"text": "stone " * 40}, {"messages": TURNS[:1], "id": "b"}, {"text": "not shown"}]
    samples = shown(teacher, tmp_path, rows, count=2, max_length=32)
    windows, skipped = samples[:-1], samples[-1]
    assert [(sample.window, sample.windows) for sample in windows] == [
        (k, len(windows)) for k in range(len(windows))
    ]
    assert len(windows) > 1
    assert {sample.bos for sample in windows} == {1}
    assert (skipped.id, skipped.spans, skipped.windows) == ("b", (), 0)
    assert "captured roles" in skipped.skipped


def test_cut_rows(teacher, tmp_path):
    rows = [{"text": "stone " * 40}]
    (sample,) = shown(teacher, tmp_path, rows, max_length=32, long_texts="cut")
    assert (sample.cut, sample.tokens, sample.positions) == (True, 32, 31)
    assert not (tmp_path / "dump").exists()
