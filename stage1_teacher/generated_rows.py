"""A unit's prompts become rows: the teacher writes, each response is judged, some are stored.

A chunk of prompts is held at a time, with all its responses and their signals; rows come in the
corpus's order, whatever order the engine works in.

Shapes: L tokens of a prompt, G generated tokens.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np

from schemas.errors import DamagedError
from schemas.manifest import Generation
from stage1_teacher.answer_parsers import open_parser
from stage1_teacher.completions import Completion, Prompt, Sampling
from stage1_teacher.engine import Engine
from stage1_teacher.response_segments import response_segments
from stage1_teacher.responses import Judge, Response
from stage1_teacher.samples import Sample
from stage1_teacher.set_aside import Aside, answered
from stage1_teacher.shard_tables import Row
from stage1_teacher.shard_writer import Notes, Recipe, Tick, chunks, complete
from stage1_teacher.tokenizer import TeacherTokenizer
from stage1_teacher.verifiers import check_verifier, open_verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Everything that generating needs besides an engine.

    Attributes:
        plan: what the user asked for.
        tokenizer: the teacher's.
        max_length: longest sequence, prompt and response together.
    """

    plan: Generation
    tokenizer: TeacherTokenizer
    max_length: int

    def check(self) -> None:
        """Opens parser and verifier, to find out whether that works.

        Raises:
            ConfigError: one of them does not exist, or does not take its argument.
        """
        if self.plan.parser is not None:
            open_parser(self.plan.parser, self.plan.parser_argument)
        if self.plan.verifier is not None:
            check_verifier(self.plan.verifier, self.plan.verifier_argument)

    def budget(self, prompt: Sample) -> int:
        """The most tokens that may follow a prompt."""
        return min(self.plan.max_tokens, self.max_length - len(prompt.input_ids))

    @contextmanager
    def opened(self, engine: Engine, recipe: Recipe) -> "Iterator[GeneratedRows]":
        """Inside, the verifier's processes run."""
        plan = self.plan
        parse = None if plan.parser is None else open_parser(plan.parser, plan.parser_argument)
        verifier = (
            nullcontext()
            if plan.verifier is None
            else open_verifier(plan.verifier, plan.verifier_argument)
        )
        with verifier as verify:
            judge = Judge(plan, parse, verify)
            yield GeneratedRows(writing=self, engine=engine, recipe=recipe, judge=judge)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedRows:
    """Makes rows of prompts; see `Writing.opened`."""

    writing: Writing
    engine: Engine
    recipe: Recipe
    judge: Judge

    def cost(self, sample: Sample) -> int:
        """Tokens of its responses at most, the prompt repeated in front of each."""
        return self.writing.plan.samples * (len(sample.input_ids) + self.writing.budget(sample))

    def rows(self, samples: Sequence[Sample], notes: Notes, tick: Tick) -> Iterator[Row]:
        """Rows of the responses that are kept, in order; `notes` count all of them.

        Raises:
            DamagedError: the engine left a prompt out, or some of a response's positions.
        """
        for chunk in chunks(samples, self.recipe.chunk_tokens, self.cost):
            responses = self._written(chunk, notes.aside, tick)
            for found in self.judge.kept(responses, notes.tally):
                yield self._row(found)

    def _written(self, chunk: Sequence[Sample], aside: Aside, tick: Tick) -> list[Response]:
        asked = [(prompt, k) for prompt in chunk for k in range(self.writing.plan.samples)]
        prompts = [self._prompt(prompt, k) for prompt, k in asked]
        found: list[Completion | None] = [None] * len(asked)
        for index, written in answered(self._generate, prompts, lambda p: p.id, aside):
            found[index] = written
            tick(len(prompts[index].input_ids) + len(written.output_ids))
        failed = {failure.id for failure in aside.failures}
        return [
            self._response(prompt, k, self._checked(prompts[index], found[index]))
            for index, (prompt, k) in enumerate(asked)
            if found[index] is not None or prompts[index].id not in failed
        ]

    def _generate(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Completion]]:
        plan, recipe = self.writing.plan, self.recipe
        sampling = Sampling(
            temperature=plan.temperature, top_p=plan.top_p, stop=tuple(plan.stop), seed=plan.seed
        )
        return self.engine.generate(prompts, sampling, recipe.capture, recipe.seed)

    def _prompt(self, prompt: Sample, number: int) -> Prompt:
        several = self.writing.plan.samples > 1
        return Prompt(
            id=f"{prompt.id}/s{number}" if several else prompt.id,
            input_ids=prompt.input_ids,
            max_tokens=self.writing.budget(prompt),
        )

    def _checked(self, prompt: Prompt, completion: Completion | None) -> Completion:
        count = 0 if completion is None else len(completion.output_ids)
        if completion is None or not 0 < count <= prompt.max_tokens:
            raise DamagedError(
                f"the engine wrote {count} tokens after prompt {prompt.id!r}, of which 1 to "
                f"{prompt.max_tokens} were asked for. This is a bug of potstill: please report it."
            )
        return completion

    def _response(self, prompt: Sample, number: int, completion: Completion) -> Response:
        ids = completion.output_ids.tolist()
        tokenizer = self.writing.tokenizer
        text_ids = list(ids)
        while text_ids and text_ids[-1] in tokenizer.special_ids:
            text_ids.pop()
        silent = [""] * (len(ids) - len(text_ids))
        return Response(
            prompt=prompt,
            number=number,
            id=self._prompt(prompt, number).id,
            completion=completion,
            pieces=[*tokenizer.pieces(text_ids), *silent],
        )

    def _row(self, found: Response) -> Row:
        sample = self._sample(found)
        return sample, complete(sample, found.completion.signals)

    def _sample(self, found: Response) -> Sample:
        prompt, output = found.prompt, found.completion.output_ids
        start = len(prompt.input_ids)
        return Sample(
            id=found.id,
            source=prompt.source,
            input_ids=np.concatenate([prompt.input_ids, output]),
            segments=(*prompt.segments, *response_segments(found.pieces, found.parsed, start)),
            captured=((start - 1, start - 1 + len(output)),),
            texts=_texts(found),
        )


def _texts(found: Response) -> dict[str, str | bool | None]:
    parsed, verdict = found.parsed, found.verdict
    rationale = parsed.rationale if parsed else None
    origin = {**json.loads(str(found.prompt.texts["provenance"])), "sample": found.number}
    if verdict:
        origin["compared"] = verdict.compared
    return {
        **found.prompt.texts,
        "response": found.text,
        "rationale": found.text[slice(*rationale)] if rationale else "",
        "answer": parsed.answer_text if parsed else "",
        "verdict": verdict.correct if verdict else None,
        "finish_reason": found.completion.finish_reason,
        "provenance": json.dumps(origin, ensure_ascii=False),
    }
