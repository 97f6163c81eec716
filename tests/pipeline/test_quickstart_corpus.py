"""The bundled corpus: the same bytes everywhere, no two rows alike, and true where it can be."""

import doctest
import hashlib
import json
import re
from collections import Counter
from itertools import islice

import pytest

from pipeline.quickstart_corpus import corpus_lines, problems
from stage1_teacher.corpus import count_corpus, open_corpus
from stage1_teacher.corpus_rows import Columns

GOLDEN = "a5cb06e4c7baa9ac2746058f59237c76523f21a235977d3e2472d0f0b19b0f70"


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in corpus_lines()]


def content(row):
    return json.dumps([row.get("messages"), row.get("text")])


def test_the_bytes_are_the_same_everywhere():
    data = "".join(corpus_lines()).encode()
    assert hashlib.sha256(data).hexdigest() == GOLDEN


def test_every_kind_is_everywhere(rows):
    kinds = Counter(row["source"] for row in rows)
    assert set(kinds) == {"instructions", "problems", "prose", "code"}
    for start in range(0, len(rows) - 100, 100):
        part = Counter(row["source"] for row in rows[start : start + 100])
        for kind, count in kinds.items():
            assert part[kind] == pytest.approx(100 * count / len(rows), abs=2)


def test_no_two_rows_are_alike(rows):
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({content(row) for row in rows}) == len(rows)


def test_a_larger_corpus_begins_with_the_same_items(rows):
    larger = {row["id"]: content(row) for row in map(json.loads, corpus_lines(200_000))}
    assert len(larger) > len(rows)
    assert all(larger[row["id"]] == content(row) for row in rows)


def test_another_seed_gives_another_corpus(rows):
    seen = {content(row) for row in rows}
    others = [content(json.loads(line)) for line in islice(corpus_lines(seed=1), 200)]
    assert sum(other in seen for other in others) < 10


def test_conversations_alternate_and_end_with_an_answer(rows):
    for row in rows:
        if "messages" in row:
            roles = [message["role"] for message in row["messages"]]
            assert roles == ["user", "assistant"] * (len(roles) // 2)
            assert all(m["content"] == m["content"].strip() != "" for m in row["messages"])


def test_no_slot_is_left_open_and_articles_fit(rows):
    for row in rows:
        if row["source"] != "code":
            text = row.get("text") or " ".join(m["content"] for m in row["messages"])
            article = r"\ba [aeio][a-z]+|\ban (?!hour)[^aeiou\W]\w+"
            wrong = re.search(rf"\{{[A-Za-z]+\}}|{article}|None\b", text)
            assert not wrong, (wrong[0], text)


SIGNS = {"×": "*", "+": "+", "-": "-", "/": "/"}


def test_the_arithmetic_of_every_problem_is_right():
    for found in problems(400, seed=3):
        steps = re.findall(r"((?:\d+ [×+/-] )+\d+) = (\d+)", found.rationale)
        assert steps or "%" in found.rationale
        for left, right in steps:
            expression = "".join(SIGNS.get(character, character) for character in left)
            assert eval(expression) == int(right), found.rationale
        assert re.search(r"answer is\D{0,3}(-?\d+)", found.solution)[1] == found.gold
        assert found.gold in re.findall(r"\d+", found.rationale)
        assert int(found.gold) > 0


def test_problems_carry_their_answer(rows):
    found = [row for row in rows if row["source"] == "problems"]
    assert found
    for row in found:
        assert row["messages"][1]["content"].endswith(f"The answer is {row['answer']}.")
    assert not {p.question for p in problems(40, 1_000_003)} & {
        row["messages"][0]["content"] for row in found
    }


def test_the_examples_in_the_code_are_true(rows):
    runner = doctest.DocTestRunner(verbose=False)
    parser = doctest.DocTestParser()
    count = 0
    for row in rows:
        if row["source"] == "code":
            names = {}
            exec(compile(row["text"], row["id"], "exec"), names)
            for name, value in names.items():
                if callable(value):
                    test = parser.get_doctest(value.__doc__, names, name, row["id"], 0)
                    runner.run(test)
                    count += len(test.examples)
    assert runner.summarize(verbose=False).failed == 0
    assert count > 200


def test_the_corpus_reader_takes_it(tmp_path, rows):
    (tmp_path / "corpus.jsonl").write_text("".join(corpus_lines()), "utf-8")
    counted = count_corpus(open_corpus(str(tmp_path / "corpus.jsonl"), Columns()))
    assert counted.rows == len(rows)
    assert set(counted.kinds) == {"text", "messages"}


@pytest.mark.slow
def test_its_size_in_the_teachers_tokens(real_teacher, tmp_path):
    from schemas.manifest import Limits
    from stage1_teacher.prompts import Renderer
    from stage1_teacher.tokenizer import load_tokenizer

    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(corpus_lines()), "utf-8")
    renderer = Renderer(load_tokenizer(real_teacher), Limits(max_length=512, unit_size=1))
    rendered = [renderer.render(row) for row in open_corpus(str(path), Columns()).rows()]
    tokens = sum(len(sample.input_ids) for row in rendered for sample in row.samples)
    assert tokens == pytest.approx(150_000, rel=0.05)
    assert not [row for row in rendered if row.cut or row.skipped]
