"""The quickstart's word problems of one step: the same bytes everywhere, and right."""

import json
import re

from pipeline.quickstart_prompts import PROMPTS, prompt_lines


def rows() -> list[dict]:
    return [json.loads(line) for line in prompt_lines()]


def test_no_two_problems_are_alike_and_more_begin_with_the_same() -> None:
    asked = [row["messages"][-1]["content"] for row in rows()]
    assert len(set(asked)) == len({row["id"] for row in rows()}) == PROMPTS
    more = [json.loads(line)["messages"][-1]["content"] for line in prompt_lines(2 * PROMPTS)]
    assert more[:PROMPTS] == asked
    assert len(set(more)) == 2 * PROMPTS


def test_every_gold_answer_is_the_sum_or_the_difference() -> None:
    for row in rows():
        question = row["messages"][-1]["content"]
        first, second = map(int, re.findall(r"\d+", question))
        expected = first - second if "gives away" in question else first + second
        assert row["gold"] == str(expected)
        assert expected > 0


def test_the_solved_ones_are_right_and_the_last_turn_waits_for_the_teacher() -> None:
    for row in rows():
        turns = row["messages"]
        assert [turn["role"] for turn in turns] == [*["user", "assistant"] * 3, "user"]
        for turn in turns[1::2]:
            left, operator, right, result = re.search(
                r"(\d+) ([+-]) (\d+) = (\d+)", turn["content"]
            ).groups()
            assert int(result) == (int(left) + int(operator + right))
            assert turn["content"].endswith(f"The answer is {result}.")
