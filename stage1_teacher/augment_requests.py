"""What the teacher is asked: one request per seed, template and variant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.errors import CorpusError
from stage1_teacher.augment_templates import BEGIN, AugmentTemplate
from stage1_teacher.completions import Prompt
from stage1_teacher.corpus_rows import CorpusRow
from stage1_teacher.tokenizer import TeacherTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How seeds become requests.

    Attributes:
        templates: one request each, in this order.
        variants: requests per seed and template.
        longest: most tokens of a request and what is written.
        budget: most tokens that the teacher writes.
    """

    templates: Sequence[AugmentTemplate]
    variants: int
    longest: int
    budget: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One new prompt to ask for.

    Attributes:
        id: of the row that it may become.
        seed: the seed's row.
        template: how it is asked for.
        number: which of the variants it is, from 0.
        prompt: for the engine; None when the seed is too long.
    """

    id: str
    seed: CorpusRow
    template: AugmentTemplate
    number: int
    prompt: Prompt | None


def seed_text(row: CorpusRow) -> str:
    """The prompt of a seed: its prompt, or the first thing that the user says.

    Raises:
        CorpusError: a conversation in which the user says nothing.
    """
    if row.kind == "prompt":
        return row.prompt.strip()
    said: list[str] = [m["content"].strip() for m in row.messages if m["role"] == "user"]
    first = next(filter(None, said), None)
    if first is None:
        raise CorpusError(
            f"{row.where}: the user says nothing in this conversation, so it is no seed. Remove it."
        )
    return first


def requests(
    rows: Sequence[CorpusRow], asking: Asking, tokenizer: TeacherTokenizer
) -> list[Request]:
    """The requests of some seeds, in the order of seeds, templates and variants."""
    return [
        _request(row, template, number, (asking, tokenizer))
        for row in rows
        for template in asking.templates
        for number in range(asking.variants)
    ]


def request_id(seed: str, template: str, number: int, variants: int) -> str:
    """`<seed>+<template>`, and the variant's number where there are several."""
    return f"{seed}+{template}{number if variants > 1 else ''}"


def _request(
    row: CorpusRow,
    template: AugmentTemplate,
    number: int,
    how: tuple[Asking, TeacherTokenizer],
) -> Request:
    asking, tokenizer = how
    id = request_id(row.id, template.name, number, asking.variants)
    ids = _encoded(template.render(seed_text(row)), tokenizer)
    fits = len(ids) + asking.budget <= asking.longest
    prompt = Prompt(id=id, input_ids=np.array(ids, np.int32), max_tokens=asking.budget)
    return Request(
        id=id, seed=row, template=template, number=number, prompt=prompt if fits else None
    )


def _encoded(question: str, tokenizer: TeacherTokenizer) -> list[int]:
    """The question as the teacher sees it, its answer begun."""
    if tokenizer.chat_template is None:
        return tokenizer.encode(f"{question}\n\n{BEGIN}", special=True).ids
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    text = tokenizer.chat(messages, generation_prompt=True)
    return tokenizer.encode(text + BEGIN, special=False).ids
