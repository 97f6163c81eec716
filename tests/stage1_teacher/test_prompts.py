"""Spans are exact on token borders, under every kind of chat template that the field uses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError, CorpusError
from schemas.manifest import Limits
from stage1_teacher.corpus_rows import Columns, corpus_row
from stage1_teacher.prompts import NOTHING_TO_LEARN, PROMPT_TOO_LONG, TOO_SHORT, Renderer
from stage1_teacher.raw_rows import RawRow
from stage1_teacher.tokenizer import TeacherTokenizer
from tests.tiny import CHAT_TEMPLATE, tiny_tokenizer

LLAMA2 = (  # trims, writes BOS for every pair of turns, refuses roles that do not alternate
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
PLAIN = (  # no special token at all
    "{% for m in messages %}{{ '### ' + m.role + ':\n' + m.content + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)
NEXT_ROLE = (  # an answer ends where the next role's token begins
    "{{ '<s>' }}{% for m in messages %}"
    "{{ '<|im_start|>' if m.role == 'user' else '<|endoftext|>' }}{{ '\n' + m.content }}"
    "{% endfor %}"
)
THINKING = (  # drops the thoughts of all but the last answer
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and '</think>' in m.content %}"
    "{% if loop.last %}{{ '<think>\n' + m.content.split('</think>')[0].split('<think>')[-1].strip()"
    " + '\n</think>\n\n' }}{% endif %}{{ m.content.split('</think>')[-1].lstrip() }}"
    "{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOLS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% for call in m.tool_calls or [] %}{{ '\n<tool_call>' + call.name + '</tool_call>' }}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TURNS = [
    {"role": "user", "content": "user"},
    {"role": "assistant", "content": "The stone."},
    {"role": "user", "content": "And then?\n"},
    {"role": "assistant", "content": "The river, é 🙂"},
]


def tokenizer(template=CHAT_TEMPLATE, *, bos=False):
    return TeacherTokenizer(tiny_tokenizer(chat_template=template, bos=bos))


def render(value, tokenizer, *, system=None, **limits):
    """RowSamples of one row, given as its columns."""
    limits = {"max_length": 256, "unit_size": 8, **limits}
    renderer = Renderer(tokenizer, Limits(**limits), system)
    raw = RawRow(where="c.jsonl, line 1", values={"id": "a", **value}, columns=list(value))
    return renderer.render(corpus_row(raw, 0, Columns(), "c"))


def sample_of(value, tokenizer, **options):
    (sample,) = render(value, tokenizer, **options).samples
    return sample


def learned(sample, tokenizer):
    """The text of every captured stretch: what the student learns to say."""
    return [tokenizer.decode(sample.input_ids[s + 1 : e + 1]) for s, e in sample.captured]


def pieces(sample, tokenizer):
    return [(s.kind, tokenizer.decode(sample.input_ids[s.start : s.end])) for s in sample.segments]


def test_a_text_is_captured_whole():
    teacher = tokenizer()
    sample = sample_of({"text": "The stone."}, teacher)
    assert pieces(sample, teacher) == [("text", "The stone.")]
    assert sample.captured == ((0, len(sample.input_ids) - 1),)


def test_a_text_after_bos_is_learned_from_its_first_token_on():
    teacher = tokenizer(bos=True)
    for text in ("The stone.", "<s>The stone."):
        sample = sample_of({"text": text}, teacher)
        assert pieces(sample, teacher) == [("template", "<s>"), ("text", "The stone.")]
        assert learned(sample, teacher) == ["The stone."]
        assert sample.captured[0][0] == 0


def test_a_conversation_sees_what_transformers_makes_of_it():
    teacher = tokenizer()
    sample = sample_of({"messages": TURNS}, teacher)
    expected = teacher._tokenizer.apply_chat_template(TURNS, tokenize=True, return_dict=False)
    assert sample.input_ids.tolist() == expected
    assert pieces(sample, teacher) == [
        ("template", "<|im_start|>system\nYou are tiny.<|im_end|>\n<|im_start|>user\n"),
        ("prompt", "user<|im_end|>"),
        ("template", "\n<|im_start|>assistant\n"),
        ("response", "The stone.<|im_end|>"),
        ("template", "\n<|im_start|>user\n"),
        ("prompt", "And then?\n<|im_end|>"),
        ("template", "\n<|im_start|>assistant\n"),
        ("response", "The river, é 🙂<|im_end|>"),
        ("template", "\n"),
    ]
    assert learned(sample, teacher) == ["The stone.<|im_end|>", "The river, é 🙂<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (LLAMA2, ["The stone. <|im_end|>", "The river, é 🙂 <|im_end|>"]),
        (PLAIN, ["The stone.", "The river, é 🙂"]),
        (NEXT_ROLE, ["The stone.<|im_start|>", "The river, é 🙂"]),
        (THINKING, ["The stone.<|im_end|>", "The river, é 🙂<|im_end|>"]),
    ],
    ids=["llama2", "plain", "next role", "thinking"],
)
def test_answers_with_the_token_that_ends_them(template, expected):
    teacher = tokenizer(template, bos=True)
    sample = sample_of({"messages": TURNS}, teacher)
    assert learned(sample, teacher) == expected
    assert teacher.decode(sample.input_ids) == teacher.chat(TURNS)
    assert sample.input_ids[:2].tolist() != [3, 3]


def test_other_roles_are_captured_on_request():
    teacher = tokenizer()
    turns = [{"role": "system", "content": "Be brief."}, *TURNS[:2]]
    sample = sample_of({"messages": turns}, teacher, capture_roles=["system", "user"])
    assert learned(sample, teacher) == ["Be brief.<|im_end|>", "user<|im_end|>"]
    assert [s.kind for s in sample.segments][1::2] == ["system", "prompt", "response"]


def test_a_template_that_rewrites_answers():
    teacher = tokenizer(THINKING)
    turns = [
        TURNS[0],
        {"role": "assistant", "content": "<think>a stone</think>The stone."},
        TURNS[2],
        {"role": "assistant", "content": "<think>a river</think>\n\nThe river."},
    ]
    sample = sample_of({"messages": turns}, teacher)
    assert learned(sample, teacher) == [
        "The stone.<|im_end|>",
        "<think>\na river\n</think>\n\nThe river.<|im_end|>",
    ]
    with pytest.raises(CorpusError, match="--capture-roles assistant"):
        sample_of({"messages": turns}, teacher, capture_roles=["user", "assistant"])


@pytest.mark.parametrize("content", ["", "Look:"])
def test_tool_calls_are_learned_and_results_are_not(content):
    teacher = tokenizer(TOOLS)
    turns = [
        TURNS[0],
        {"role": "assistant", "content": content, "tool_calls": [{"name": "add"}]},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "Two."},
    ]
    sample = sample_of({"messages": turns}, teacher)
    call = "\n<tool_call>add</tool_call><|im_end|>"
    assert learned(sample, teacher) == [content + call, "Two.<|im_end|>"]


def test_prompt_and_response_through_the_template():
    teacher = tokenizer()
    row = {"prompt": "Which?", "response": "This."}
    sample = sample_of(row, teacher)
    assert learned(sample, teacher) == ["This.<|im_end|>"]
    turns = [
        {"role": "user", "content": "Which?"},
        {"role": "assistant", "content": "This."},
    ]
    assert sample.input_ids.tolist() == sample_of({"messages": turns}, teacher).input_ids.tolist()


def test_prompt_and_response_without_a_template():
    teacher = tokenizer(None, bos=True)
    sample = sample_of({"prompt": "The stone and ", "response": "the river"}, teacher)
    assert pieces(sample, teacher)[0] == ("template", "<s>")
    assert teacher.decode(sample.input_ids) == "<s>The stone and the river<|im_end|>"
    assert sample.input_ids.tolist().count(2) == 1
    assert learned(sample, teacher) == [" the river<|im_end|>"]


def test_a_system_prompt_goes_before_what_has_none():
    teacher = tokenizer()
    expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
    own = [{"role": "system", "content": "Be long."}, *TURNS[:2]]
    for row, wanted in (
        ({"prompt": "a", "response": "b"}, expected),
        ({"messages": TURNS}, expected),
        ({"messages": own}, expected.replace("brief", "long")),
    ):
        sample = sample_of(row, teacher, system="Be brief.")
        assert teacher.decode(sample.input_ids).startswith(wanted)
        assert "system" in [segment.kind for segment in sample.segments]
    with pytest.raises(ConfigError, match="system_prompt needs a chat template"):
        render({"text": "a b"}, tokenizer(None), system="Be brief.")


def test_a_conversation_needs_a_template():
    with pytest.raises(CorpusError, match=r"c\.jsonl, line 1: .*no chat template.*--chat-template"):
        render({"messages": TURNS}, tokenizer(None))


def test_a_template_may_refuse():
    with pytest.raises(CorpusError, match=r"line 1: .*user, user.*roles must alternate"):
        render({"messages": [TURNS[0], TURNS[0]]}, tokenizer(LLAMA2))


def test_long_texts_become_windows_or_are_cut():
    teacher = tokenizer(bos=True)
    text = " ".join(f"stone {n}" for n in range(60))
    whole = sample_of({"text": text}, teacher, max_length=4096)
    rendered = render({"text": text}, teacher, max_length=32, window_overlap=4)
    assert not rendered.cut
    assert [s.id for s in rendered.samples] == [f"a/w{k}" for k in range(len(rendered.samples))]
    assert "".join(t for s in rendered.samples for t in learned(s, teacher)) == text
    assert all(s.input_ids[0] == 3 and len(s.input_ids) <= 32 for s in rendered.samples)
    rendered = render({"text": text}, teacher, max_length=32, long_texts="cut")
    assert rendered.cut
    assert rendered.samples[0].id == "a"
    assert rendered.samples[0].input_ids.tolist() == whole.input_ids[:32].tolist()


def test_long_conversations_are_cut():
    teacher = tokenizer()
    whole = sample_of({"messages": TURNS}, teacher)
    first_answer = whole.captured[0]
    rendered = render({"messages": TURNS}, teacher, max_length=first_answer[1])
    assert rendered.cut
    assert rendered.samples[0].captured == ((first_answer[0], first_answer[1] - 1),)
    rendered = render({"messages": TURNS}, teacher, max_length=first_answer[0] + 1)
    assert (rendered.cut, rendered.skipped, rendered.samples) == (True, PROMPT_TOO_LONG, ())


def test_rows_with_nothing_to_capture_are_skipped_with_the_reason():
    teacher = tokenizer()
    assert render({"text": "a"}, teacher).skipped == TOO_SHORT
    assert render({"messages": TURNS[:1]}, teacher).skipped == NOTHING_TO_LEARN


PARTS = [*"ab \n\t.1é🙂", "<|im_end|>", "<|im_start|>", "assistant\n", "\ue0001\ue001", "</think>"]
CONTENTS = st.lists(st.sampled_from(PARTS), max_size=8).map("".join).filter(str.strip)
ANY = {template: tokenizer(template) for template in (CHAT_TEMPLATE, PLAIN, LLAMA2)}


@settings(max_examples=200, deadline=None)
@given(contents=st.lists(CONTENTS, min_size=1, max_size=3), template=st.sampled_from(sorted(ANY)))
def test_any_content_keeps_spans_exact(contents, template):
    teacher = ANY[template]
    roles = ("user", "assistant")
    turns = [{"role": role, "content": c} for c in contents for role in roles]
    sample = sample_of({"messages": turns}, teacher, max_length=4096)
    assert [s.start for s in sample.segments] == [0, *(s.end for s in sample.segments[:-1])]
    assert sample.segments[-1].end == len(sample.input_ids)
    answers = [text for kind, text in pieces(sample, teacher) if kind == "response"]
    assert len(answers) == len(contents)
    for answer, content in zip(answers, contents, strict=True):
        if template == CHAT_TEMPLATE:  # only line ends can share a token with the markup
            assert answer.lstrip() == content.lstrip() + "<|im_end|>"
        else:
            assert content.strip() in answer
            assert len(answer.strip()) <= len(content.strip()) + len(" <|im_end|>")
