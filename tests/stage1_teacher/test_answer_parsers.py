import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError
from stage1_teacher.answer_parsers import PARSERS, open_parser, parse
from stage1_teacher.bounded_regex import SECONDS


def taken_apart(name: str, text: str, argument: str | None = None) -> tuple[str | None, str] | None:
    """Rationale and answer as texts; None when the response does not have the form."""
    found = parse(name, text, argument)
    if found is None:
        return None
    rationale = None if found.rationale is None else text[slice(*found.rationale)]
    return rationale, found.answer_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>2 + 2 = 4</think><answer>4</answer>", ("2 + 2 = 4", "4")),
        ("<think>\n2 + 2\n</think>\n\n<answer>\n4\n</answer>\n", ("2 + 2", "4")),
        ("<THINK>a</THINK>< Answer >4</ Answer >", ("a", "4")),
        # what is rehearsed inside the thoughts is no answer
        ("<think>say <answer>5</answer>? no</think>4", ("say <answer>5</answer>? no", "4")),
        ("<think>a <answer>5</answer></think><answer>4</answer>", ("a <answer>5</answer>", "4")),
        # several answers: the last closed one; several thoughts: one stretch
        ("<answer>5</answer> wait <answer>4</answer>", ("<answer>5</answer> wait", "4")),
        ("<answer>5</answer> and <answer>", (None, "5")),
        ("<think>a</think><think>b</think>4", ("a</think><think>b", "4")),
        # a chat template wrote the opening tag
        ("I count.\n</think>\nFour.", ("I count.", "Four.")),
        ("I count. <answer>4</answer>", ("I count.", "4")),
        ("<think>I count. <answer>4</answer>", ("I count.", "4")),
        ("<think>I count.</think><answer>4", ("I count.", "4")),
        ("<think></think>4", (None, "4")),
        # never came to an answer
        ("<think>I count and count", None),
        ("<think>a</think>", None),
        ("<think>a</think><answer> </answer>", None),
        ("The answer is 4.", None),
        ("", None),
    ],
)
def test_tags(text: str, expected: tuple[str | None, str] | None) -> None:
    assert taken_apart("tags", text) == expected


def test_tags_of_other_names() -> None:
    text = "<reasoning>a</reasoning><result>4</result>"
    assert taken_apart("tags", text, "reasoning, result") == ("a", "4")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We add 2 and 2.\nThe answer is 4.", ("We add 2 and 2.", "4")),
        ("We add. So, the final answer is 4!", ("We add.", "4")),
        ("Natalia sold 48 + 24 = 72 clips.\n#### 72", ("Natalia sold 48 + 24 = 72 clips.", "72")),
        ("a\n\n**Answer:** 4 apples", ("a", "4 apples")),
        ("a\n**Final Answer**: 4", ("a", "4")),
        ("a\n### Final Answer\n\n4", ("a", "4")),
        ("a\n**Answer**\n4", ("a", "4")),
        ("a\nAnswer: B", ("a", "B")),
        ("a. The correct answer is (C).", ("a.", "(C)")),
        ("The answer is **$1,234.50**.", (None, "$1,234.50")),
        ("The answer is -3.5. That is cold.", (None, "-3.5")),
        ('The answer is "Paris". It is nice there.', (None, "Paris")),
        ("The answer to the question is 3/4 of it.", (None, "3/4 of it")),
        ("Therefore the answer is $x^2 + 1$.", (None, "x^2 + 1")),
        ("The answer is \\(\\frac{1}{2}\\).", (None, "\\frac{1}{2}")),
        ("a\nThe final answer is:\n\n\\[\n\\frac{1}{2}\n\\]\nDone.", ("a", "\\frac{1}{2}")),
        ("a\nThe answer is\n$$\n5\n$$", ("a", "5")),
        ("The answer is $\\boxed{\\frac{a}{\\sqrt{b}}}$.", (None, "\\frac{a}{\\sqrt{b}}")),
        # the last statement that says something
        ("The answer is 3. No, the answer is 4.", ("The answer is 3. No,", "4")),
        ("The answer is 3.\nThe answer is", (None, "3")),
        ("The answer is $5$ and $6$.", (None, "$5$ and $6$")),
        ("It is 4.", None),
        ("I know the answer", None),
        ("The answer is", None),
        ("The answer is .", None),
        ("", None),
    ],
)
def test_answer_is(text: str, expected: tuple[str | None, str] | None) -> None:
    assert taken_apart("answer_is", text) == expected


def test_answer_is_in_other_words() -> None:
    text = "Zwei und zwei. Die Antwort ist: 4."
    assert taken_apart("answer_is", text, "die antwort ist") == ("Zwei und zwei.", "4")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("She has 42 apples.", "42"),
        ("It costs $1,234.50.", "$1,234.50"),
        ("That is 1,000,000, all in all", "1,000,000"),
        ("One of 1,2,3", "3"),
        ("10 - 3 = 7.", "7"),
        ("from 3 to -5", "-5"),
        ("It is −3.5 degrees", "−3.5"),
        ("a loss of -$5", "-$5"),
        ("7-5", "5"),
        ("It grew by 50%.", "50%"),
        ("by 12.5 % a year", "12.5 %"),
        ("3/4 of it", "3/4"),
        ("1 3/4 cups", "1 3/4"),
        ("\\frac{3}{4}", "\\frac{3}{4}"),
        ("\\$1{,}000", "\\$1{,}000"),
        ("2.5 million people", "2.5 million"),
        ("1.5e10 J", "1.5e10"),
        ("1'000'000 francs", "1'000'000"),
        ("1 200 metres".replace(" ", "\u202f", 1), "1\u202f200"),
        ("4.", "4"),
        ("x2 and H2O", None),
        ("none at all", None),
        ("1e999999999", None),
        ("9" * 5000, None),
        ("1/0", None),
    ],
)
def test_last_number(text: str, answer: str | None) -> None:
    found = taken_apart("last_number", text)
    assert (found and found[1]) == answer


def test_thoughts_before_the_last_number_end_where_it_begins() -> None:
    assert taken_apart("last_number", "3 and 4 are 7 apples") == ("3 and 4 are", "7")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so $\\boxed{42}$.", ("so $", "42")),
        ("\\boxed{1} or \\boxed{ \\frac{1}{2} }", ("\\boxed{1} or", "\\frac{1}{2}")),
        ("\\boxed{\\left\\{ 1, 2 \\right.}", (None, "\\left\\{ 1, 2 \\right.")),
        ("\\fbox{A}", (None, "A")),
        ("\\boxed{1} then \\boxed{\\frac{1}{2}", (None, "1")),
        ("\\boxed{}", None),
        ("\\boxed 4", None),
        ("42", None),
    ],
)
def test_boxed(text: str, expected: tuple[str | None, str] | None) -> None:
    assert taken_apart("boxed", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"reasoning": "a", "answer": "4"}', ("a", "4")),
        ('Sure!\n```json\n{"answer": 4, "reasoning": "a"}\n```\nBye', ("a", "4")),
        ('I count.\n```json\n{"answer": -4.5}\n```', ("I count.", "-4.5")),
        ('I count. {"answer": true}', ("I count.", "true")),
        ('{"reasoning": "the set {1, 2}", "answer": 2,}', ("the set {1, 2}", "2")),
        ('{"reasoning": "two\nlines", "answer": "\\u00e9"}', ("two\nlines", "é")),
        ('{"reasoning": 3, "answer": [1, 2]}', (None, "[1, 2]")),
        ('{"answer": 3} no: {"answer": 4}', ('{"answer": 3} no:', "4")),
        ('{"answer": 3} {"other": 4}', (None, "3")),
        ('{"result": {"answer": 4}}', ('{"result":', "4")),
        ('{"answer": "\\ud800x"}', (None, "???x")),
        ('{"answer": null}', None),
        ('{"answer": ""}', None),
        ('{"answer": 4', None),
        ("{'answer': 4}", None),
        ("4", None),
        ('{"a":' * 4000, None),
    ],
)
def test_json(text: str, expected: tuple[str | None, str] | None) -> None:
    found = taken_apart("json", text)
    if found is not None:
        found = found[0], found[1].replace("\ufffd", "?")
    assert found == expected


def test_json_with_other_keys() -> None:
    assert taken_apart("json", '{"why": "a", "x": "4"}', "why,x") == ("a", "4")


@pytest.mark.parametrize(
    ("expression", "text", "expected"),
    [
        (r"Answer: (?P<answer>\d+)", "a Answer: 3 Answer: 4", ("a Answer: 3", "4")),
        (r"(?s)(?P<rationale>.*)\n=> (?P<answer>.*)", "a\nb\n=> 4 ", ("a\nb", "4")),
        (r"(?:(?P<rationale>x)|y)(?P<answer>\d)", "a y4", ("a", "4")),
        (r"(?P<answer>\d+)?x", "x", None),
        (r"(?P<answer>\s+)x", " x", None),
        (r"Answer: (?P<answer>\d+)", "4", None),
        (r"(?P<rationale>a (?P<answer>\d) b)", "a 4 b", ("a", "4")),
        (r"(?P<answer>\d) for (?P<rationale>.*)", "4 for two twos", ("two twos", "4")),
    ],
)
def test_regex(expression: str, text: str, expected: tuple[str | None, str] | None) -> None:
    assert taken_apart("regex", text, expression) == expected


PIECES = [
    *("<think>", "</think>", "<answer>", "</answer>", "The answer is ", "#### ", "\\boxed{", "}"),
    *('{"answer": ', '"reasoning": "', '", ', "42", "-1,234.5", " ", "\n", ".", "é", "\\(", "$$"),
]
EXPRESSION = r"(?P<rationale>.*) (?P<answer>\d+)"


@given(text=st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
@pytest.mark.parametrize("name", PARSERS)
def test_spans_are_of_the_response_and_apart(name: str, text: str) -> None:
    found = parse(name, text, EXPRESSION if name == "regex" else None)
    if found is None:
        return
    start, end = found.answer
    assert 0 <= start < end <= len(text)
    assert text[start:end].strip() == text[start:end]
    assert name == "json" or found.answer_text == text[start:end]
    if found.rationale is not None:
        first, last = found.rationale
        assert 0 <= first < last <= len(text)
        assert last <= start or first >= end


def test_a_catastrophic_expression_is_stopped_counted_and_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    slow = open_parser("regex", r"(?P<answer>(a|aa)+)$")
    started = time.process_time()
    assert slow("a" * 60 + "b") is None
    assert slow("a" * 60 + "b") is None
    assert time.process_time() - started < 2 * SECONDS + 3
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "count as unparsed" in caplog.text


@pytest.mark.parametrize("name", [n for n in PARSERS if n != "regex"])
def test_long_responses_take_no_time(name: str) -> None:
    parts = ["{", "\\boxed{", "<think>", "The answer is", "1,", "#### ", "9", '{"a":[', "- ", "$$"]
    started = time.process_time()
    for part in parts:
        parse(name, part * (20_000 // len(part)))
        parse(name, part * (20_000 // len(part)) + " 4}")
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("name", "argument", "parts"),
    [
        ("tag", None, ["no parser 'tag'", "tags"]),
        ("xml", None, ["no parser 'xml'", "tags, answer_is"]),
        ("tags", "one", ["two tags", "'one'"]),
        ("tags", "<a>,b", ["two tags"]),
        ("json", "a,b,c", ["two keys"]),
        ("boxed", "x", ["takes no argument", "'x'"]),
        ("last_number", "x", ["takes no argument"]),
        ("regex", None, ["needs a regular expression"]),
        ("regex", "(", ["no regular expression", "'('"]),
        ("regex", "x", ["no group `answer`"]),
    ],
)
def test_a_wrong_parser_or_argument_is_refused(
    name: str, argument: str | None, parts: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(name, "text", argument)
    assert all(part in str(refused.value) for part in parts), refused.value
