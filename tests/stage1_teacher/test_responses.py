"""What becomes of every response is decided once and counted."""

from typing import Any

import numpy as np
import pytest

from schemas.manifest import Generation, GenerationCounts
from stage1_teacher.answer_parsers import open_parser
from stage1_teacher.completions import Completion
from stage1_teacher.responses import Judge, Response, Tally
from stage1_teacher.samples import Sample
from stage1_teacher.verdict import compared, not_compared

WRITTEN = [
    ("p0", "The answer is 4.", "stop"),
    ("p0", "So THE answer  is 4.", "stop"),
    ("p0", "so the answer is 4.", "stop"),
    ("p0", "It is 4.", "stop"),
    ("p1", "The answer is 5.", "stop"),
    ("p1", "The answer is what.", "stop"),
    ("p1", "The answer is 4.", "length"),
    ("p2", "The answer is 4.", "stop"),
]


def responses() -> list[Response]:
    return [
        Response(
            prompt=Sample(
                id=prompt,
                source="s",
                input_ids=np.zeros(1, np.int32),
                segments=(),
                captured=(),
                texts={"gold": "4", "prompt": "?", "provenance": "{}"},
            ),
            number=number,
            id=f"{prompt}/{number}",
            completion=Completion(
                output_ids=np.zeros(1, np.int32), finish_reason=reason, signals=None
            ),
            pieces=[text, ""],
        )
        for number, (prompt, text, reason) in enumerate(WRITTEN)
    ]


def verify(pairs):
    return [
        compared(answer == gold, answer, gold) if answer.isdigit() else not_compared("no number")
        for answer, gold in pairs
    ]


def judged(
    *, parser: bool = True, verifier: bool = True, **plan: Any
) -> tuple[list[int], GenerationCounts]:
    judge = Judge(
        Generation(max_tokens=9, **plan),
        open_parser("answer_is") if parser else None,
        verify if verifier else None,
    )
    tally = Tally()
    kept = [found.number for found in judge.kept(responses(), tally)]
    counts = tally.result()
    assert counts.kept == len(kept)
    assert counts.generated == len(WRITTEN)
    return kept, counts


def counts(**given: int) -> GenerationCounts:
    return GenerationCounts(generated=len(WRITTEN), **given)


def test_accepted_ones_only() -> None:
    kept, found = judged(keep="accepted")
    assert kept == [0, 1, 7]
    assert found == counts(
        truncated=1, unparsed=1, accepted=4, rejected=1, unverifiable=1, duplicates=1, kept=3
    )
    assert found.acceptance == 0.5


def test_all_are_kept_and_judged() -> None:
    kept, found = judged(keep="all", keep_truncated=True, deduplicate=False)
    assert kept == list(range(8))
    assert found == counts(truncated=1, unparsed=1, accepted=5, rejected=1, unverifiable=1, kept=8)


@pytest.mark.parametrize("keep", ["accepted", "all"])
def test_every_response_is_in_exactly_one_place(keep: str) -> None:
    _, c = judged(keep=keep)
    assert c.generated == c.truncated + c.unparsed + c.accepted + c.rejected + c.unverifiable
    dropped = 0 if keep == "all" else c.unparsed + c.rejected + c.unverifiable
    assert c.kept == c.generated - c.truncated - dropped - c.duplicates


def test_without_a_verifier_what_is_parsed_is_accepted() -> None:
    kept, found = judged(verifier=False, keep="accepted")
    assert kept == [0, 1, 4, 5, 7]
    assert (found.accepted, found.unparsed, found.rejected) == (6, 1, 0)


def test_without_a_parser_all_are_accepted() -> None:
    kept, found = judged(parser=False, verifier=False)
    assert kept == [0, 1, 3, 4, 5, 7]
    assert (found.accepted, found.unparsed, found.duplicates) == (7, 0, 1)


def test_duplicates_are_of_one_prompt() -> None:
    kept, _ = judged(parser=False, verifier=False, keep_truncated=True)
    assert {0, 6, 7} <= set(kept), "the same words in answer to another prompt stay"


def test_near_duplicates_are_dropped_where_they_are_asked_for() -> None:
    kept, found = judged(parser=False, verifier=False, similarity=0.6)
    assert kept == [0, 3, 4, 5, 7]
    assert found.duplicates == 2


def test_what_was_compared_is_known() -> None:
    judge = Judge(Generation(max_tokens=9), open_parser("answer_is"), verify)
    found = {f.number: f.verdict for f in judge.kept(responses(), Tally())}
    assert found[0].compared == "4 = 4"
    assert found[4].compared == "5 ≠ 4"
    assert found[5].correct is None
    assert found[3] is None
