"""Every way to a corpus gives the same rows; a pass over it does not hold it in memory."""

import gzip
import hashlib
import itertools
import json
import tracemalloc

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from schemas.errors import CorpusError
from stage1_teacher.corpus import count_corpus, open_corpus
from stage1_teacher.corpus_rows import Columns
from stage1_teacher.corpus_text import PART
from tests.tiny import write_rows

TEXTS = [{"text": f"Number {n}: é ∑ 漢 🙂", "id": f"t{n}", "source": "s"} for n in range(150)]
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def rows_of(location, **columns):
    return list(open_corpus(str(location), Columns(**columns)).rows())


def fingerprint(location, **columns):
    return count_corpus(open_corpus(str(location), Columns(**columns))).fingerprint


def write_every_kind(folder):
    plain = write_rows(folder / "c.jsonl", TEXTS)
    data = plain.read_bytes()
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(data))
    frames = [data[:5000], data[5000:]]
    (folder / "c.jsonl.zst").write_bytes(b"".join(zstandard.compress(f) for f in frames))
    pq.write_table(pa.Table.from_pylist(TEXTS), folder / "c.parquet", row_group_size=40)
    return [folder / name for name in ("c.jsonl", "c.jsonl.gz", "c.jsonl.zst", "c.parquet")]


def test_every_kind_of_file_gives_the_same_rows(tmp_path):
    paths = write_every_kind(tmp_path)
    first = rows_of(paths[0])
    assert [(row.index, row.id, row.text) for row in first] == [
        (n, row["id"], row["text"]) for n, row in enumerate(TEXTS)
    ]
    assert {row.source for row in first} == {"s"}
    assert len({fingerprint(path) for path in paths}) == 1


def test_files_on_another_filesystem(tmp_path):
    path = write_rows(tmp_path / "c.jsonl", TEXTS)
    with fsspec.open("memory://corpora/c.jsonl", "wb") as file:
        file.write(path.read_bytes())
    assert fingerprint("memory://corpora/c.jsonl") == fingerprint(path)


def test_a_folder_and_a_glob_read_files_by_name(tmp_path):
    for name, part in (("b.jsonl", TEXTS[5:9]), ("a.jsonl", TEXTS[:5]), ("_c.jsonl", TEXTS[:1])):
        write_rows(tmp_path / name, part)
    (tmp_path / "README.md").write_text("not a corpus")
    (tmp_path / ".hidden").mkdir()
    write_rows(tmp_path / ".hidden/d.jsonl", TEXTS[:1])
    expected = [row["id"] for row in TEXTS[:9]]
    assert [row.id for row in rows_of(tmp_path)] == expected
    assert [row.id for row in rows_of(tmp_path / "[ab].jsonl")] == expected


def test_the_fingerprint_is_the_documented_chain(tmp_path):
    path = write_rows(tmp_path / "c.jsonl", [{"text": "é", "ignored": 1}, {"text": "b", "id": 7}])
    contents = ['{"text":"é"}', '{"id":"7","text":"b"}']
    digests = [hashlib.sha256(content.encode()).digest() for content in contents]
    first, second = rows_of(path)
    assert first.id == f"{digests[0].hex()[:16]}-0"
    assert second.id == "7"
    assert fingerprint(path) == f"sha256:{hashlib.sha256(b''.join(digests)).hexdigest()}"


@pytest.mark.parametrize(
    "change",
    [lambda rows: rows[::-1], lambda rows: rows[:-1], lambda rows: [*rows, rows[0]]],
    ids=["order", "one less", "one more"],
)
def test_the_fingerprint_feels_every_change(tmp_path, change):
    before = fingerprint(write_rows(tmp_path / "a.jsonl", TEXTS[:4]))
    assert fingerprint(write_rows(tmp_path / "b.jsonl", change(TEXTS[:4]))) != before


def test_a_row_is_what_it_has(tmp_path):
    rows = [
        {"text": "t"},
        {"prompt": "p", "response": "r", "text": "t"},
        {"messages": CHAT, "prompt": "p", "text": None},
        {"text": "t", "prompt": "p"},
    ]
    found = rows_of(write_rows(tmp_path / "c.jsonl", rows))
    assert [row.kind for row in found] == ["text", "prompt", "messages", "text"]
    assert (found[1].prompt, found[1].response) == ("p", "r")
    assert [dict(message) for message in found[2].messages] == CHAT
    assert {row.source for row in found} == {"c"}
    counted = count_corpus(open_corpus(str(tmp_path / "c.jsonl"), Columns()))
    assert counted.rows == 4
    assert counted.kinds == {"text": 2, "prompt": 1, "messages": 1}


def test_columns_by_other_names(tmp_path):
    rows = [{"q": "p", "a": "r", "key": 3, "subset": "maths", "text": "not this", "answer": 1}]
    path = write_rows(tmp_path / "c.jsonl", rows)
    (row,) = rows_of(path, prompt="q", response="a", id="key", source="subset")
    assert (row.kind, row.prompt, row.response, row.id, row.source) == (
        *("prompt", "p", "r", "3", "maths"),
    )
    assert Columns(prompt="q", id="id").given == {"prompt": "q"}


def test_parquet_conversations_lose_the_nulls_that_parquet_adds(tmp_path):
    rows = [{"messages": CHAT}, {"messages": [{**CHAT[0], "name": "Ann"}, CHAT[1]]}]
    pq.write_table(pa.Table.from_pylist(rows[::-1]), tmp_path / "c.parquet")
    assert [dict(message) for message in rows_of(tmp_path / "c.parquet")[1].messages] == CHAT


def test_a_text_file_is_one_document(tmp_path):
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbfOne.\r\n\r\nTwo.\n")
    (row,) = rows_of(tmp_path / "c.txt")
    assert row.text == "One.\r\n\r\nTwo.\n"


def test_a_large_text_file_is_parted_at_blank_lines(tmp_path):
    paragraph = "word " * 1000 + "\n\n"
    text = paragraph * (5 * PART // (2 * len(paragraph))) + "end\n" * (PART // 2)
    (tmp_path / "c.txt").write_text(text)
    parts = [row.text for row in rows_of(tmp_path / "c.txt")]
    assert "".join(parts) == text
    assert [part.endswith("\n\n") for part in parts[:2]] == [True, True]
    assert len(parts) == 4
    assert max(map(len, parts)) <= 2 * PART + len(paragraph)


def test_limit(tmp_path):
    path = str(write_rows(tmp_path / "c.jsonl", TEXTS))
    limited = open_corpus(path, Columns(), limit=3)
    assert [row.index for row in limited.rows()] == [0, 1, 2]
    assert count_corpus(limited).rows == 3


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    def peak(count):
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as file:
            for number in range(count):
                file.write(json.dumps({"text": f"{number} " * 500}) + "\n")
        tracemalloc.start()
        count_corpus(open_corpus(str(path), Columns()))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(100)
    assert peak(4000) < peak(400) + (1 << 20)


def test_counting_reports_progress(tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("stage1_teacher.corpus.time.monotonic", lambda: next(clock))
    heard = []
    count_corpus(
        open_corpus(str(write_rows(tmp_path / "c.jsonl", TEXTS[:5])), Columns()), heard.append
    )
    assert [progress.done for progress in heard][-1] == 5
    assert len(heard) > 2
    assert {(progress.stage, progress.unit) for progress in heard} == {("count corpus", "rows")}


def test_hub_datasets_are_streamed(tmp_path, monkeypatch):
    import datasets

    asked = []

    def load(name, subset, *, split, streaming):
        asked.append((name, subset, split, streaming))
        return datasets.Dataset.from_list(TEXTS).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load)
    corpus = open_corpus("owner/texts", Columns(), subset="en", split="test")
    local = write_rows(tmp_path / "c.jsonl", TEXTS)
    assert count_corpus(corpus).fingerprint == fingerprint(local)
    assert asked == [("owner/texts", "en", "test", True)]
    assert next(corpus.rows()).where == "owner/texts (test), row 1"


def bad_hub(error):
    def load(*_, **__):
        raise error

    return load


def test_hub_errors_say_what_to_do(monkeypatch):
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    for error, words in (
        (DatasetNotFoundError("gone"), "no such dataset on the hub"),
        (ValueError("Bad split: x. Available splits: ['train']"), "Available splits"),
        (ConnectionError("offline"), "HF_HUB_OFFLINE"),
    ):
        monkeypatch.setattr(datasets, "load_dataset", bad_hub(error))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(CorpusError, match=words):
            next(open_corpus("owner/texts", Columns()).rows())


GOOD = b'{"text": "fine"}\n'
BAD_FILES = {
    "not json": ("c.jsonl", GOOD + b"{text: 1}\n", ["c.jsonl, line 2", "not JSON"]),
    "no object": ("c.jsonl", GOOD + b'["text"]\n', ["c.jsonl, line 2", "list"]),
    "not utf-8": ("c.jsonl", GOOD + b'{"text": "caf\xe9"}\n', ["c.jsonl, line 2", "UTF-8", "0xe9"]),
    "text not utf-8": ("c.txt", b"fine\ncaf\xe9\n", ["c.txt, line 2", "UTF-8"]),
    "blank line": ("c.jsonl", GOOD + b"\n" + GOOD, ["c.jsonl, line 2", "empty"]),
    "empty text": ("c.jsonl", GOOD + b'{"text": " "}\n', ["c.jsonl, line 2", "`text` is empty"]),
    "null text": ("c.jsonl", GOOD + b'{"text": null}\n', ["c.jsonl, line 2", "`text` is empty"]),
    "empty file": ("c.txt", b"", ["c.txt, line 1", "empty"]),
    "no rows": ("c.jsonl", b"\n", ["c", "empty"]),
    "number": ("c.jsonl", b'{"text": 5}\n', ["line 1", "int 5"]),
    "other columns": (
        "c.jsonl",
        b'{"texts": "a", "b": 1}\n',
        ["`texts`, `b`", "--text-column texts"],
    ),
    "no response": ("c.jsonl", b'{"prompt": "a"}\n', ["`response`", "found `prompt`"]),
    "no role": ("c.jsonl", b'{"messages": [{"content": "a"}]}\n', ["line 1", "no role"]),
    "parts": (
        *("c.jsonl", b'{"messages": [{"role": "user", "content": [1]}]}\n'),
        ["messages.content", "list"],
    ),
    "nothing said": (
        *("c.jsonl", b'{"messages": [{"role": "user", "content": ""}]}\n'),
        ["`messages` is empty"],
    ),
    "surrogate": ("c.jsonl", b'{"text": "\\ud800"}\n', ["line 1", "surrogate"]),
    "no gzip": ("c.jsonl.gz", b"plain text", ["c.jsonl.gz", "damaged"]),
    "cut zstd": (
        *("c.jsonl.zst", zstandard.compress(GOOD * 40000)[:-20]),
        ["c.jsonl.zst", "damaged", "Truncated"],
    ),
    "no parquet": ("c.parquet", b"PAR1 no", ["c.parquet", "damaged"]),
    "other ending": ("c.csv", b"a,b\n", ["c.csv", ".jsonl.zst"]),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named_with_the_line(tmp_path, name):
    file, data, words = BAD_FILES[name]
    (tmp_path / file).write_bytes(data)
    with pytest.raises(CorpusError) as caught:
        count_corpus(open_corpus(str(tmp_path / file), Columns()))
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_missing_column_names_the_nearest(tmp_path):
    path = write_rows(tmp_path / "c.jsonl", [{"content": "a", "n": 1}])
    with pytest.raises(CorpusError, match=r"no column `contents`; found `content`, `n`.*content\?"):
        rows_of(path, text="contents")
    with pytest.raises(CorpusError, match="no column `key`"):
        rows_of(path, text="content", id="key")


def test_a_missing_path_names_the_nearest(tmp_path, monkeypatch):
    write_rows(tmp_path / "texts.jsonl", TEXTS[:1])
    with pytest.raises(CorpusError, match=r"no corpus at .*text.jsonl. Did you mean .*texts.jsonl"):
        open_corpus(str(tmp_path / "text.jsonl"), Columns())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for location in ("data/c", "c.jsonl", "./x", "data/*.jsonl"):
        with pytest.raises(CorpusError, match="no corpus at"):
            open_corpus(location, Columns())


def test_a_folder_without_a_corpus(tmp_path):
    (tmp_path / "notes.md").write_text("a")
    with pytest.raises(CorpusError, match=r"found notes.md.*\.parquet"):
        open_corpus(str(tmp_path), Columns())


def test_an_unknown_filesystem():
    with pytest.raises(CorpusError, match="nosuch://a"):
        open_corpus("nosuch://a/b.jsonl", Columns())
