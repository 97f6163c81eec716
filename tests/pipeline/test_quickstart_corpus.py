import doctest
import hashlib
import json
import re
from collections import Counter
from random import Random

import pytest

from pipeline.quickstart_code import RECIPES, module
from pipeline.quickstart_corpus import ROWS, corpus_lines, corpus_rows, problems
from pipeline.quickstart_problems import KINDS

GOLDEN = "6627da2c6b851cfbba89a311940145a9066222b39c87c1187ad5c12dbc3afab1"


def test_same_seed_gives_the_same_bytes_everywhere() -> None:
    found = hashlib.sha256("".join(corpus_lines()).encode()).hexdigest()
    assert found == GOLDEN


def test_another_seed_gives_other_rows() -> None:
    assert corpus_rows(1) != corpus_rows(2)


def test_every_kind_is_a_slice_and_no_row_stands_twice() -> None:
    rows = [json.loads(line) for line in corpus_lines()]
    assert Counter(row["source"] for row in rows) == ROWS
    assert len({json.dumps(row["messages"]) for row in rows}) == len(rows)
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("seed", range(20))
def test_rationales_compute_what_they_say(kind, seed) -> None:
    made = kind(Random(seed))
    steps = re.findall(r"(\d+) (times|plus|minus) (\d+), which is (\d+)", made.rationale)
    compute = {"times": int.__mul__, "plus": int.__add__, "minus": int.__sub__}
    for left, operation, right, result in steps:
        assert compute[operation](int(left), int(right)) == int(result)
    assert made.response.endswith(f"The answer is {made.gold}.")
    assert int(made.gold) >= 0
    assert made.gold in re.findall(r"\d+", made.rationale)


@pytest.mark.parametrize("seed", range(60))
def test_code_does_what_its_docstrings_show(seed) -> None:
    source = module(Random(seed))
    names: dict[str, object] = {}
    exec(compile(source, "corpus", "exec"), names)
    functions = [f for name, f in names.items() if callable(f)]
    assert functions
    runner = doctest.DocTestRunner()
    for function in functions:
        for test in doctest.DocTestFinder().find(function, globs=dict(names)):
            assert test.examples
            assert runner.run(test).failed == 0


def test_every_recipe_is_written() -> None:
    text = "".join(module(Random(seed)) for seed in range(60))
    assert all(recipe.name in text for recipe in RECIPES)


def test_evaluation_problems_are_not_in_the_corpus() -> None:
    text = "".join(corpus_lines())
    assert not any(json.dumps(p.question)[1:-1] in text for p in problems(40, 1_000_003))
