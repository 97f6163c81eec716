"""The positions where the student is furthest from its teacher, in words that people can read."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from stage2_student.batch import Batch, Document
from stage2_student.evaluation import Disagreement, Guess
from stage2_student.position_measures import PositionMeasures
from stage2_student.signals import teacher_signals

GUESSES = 5
_CONTEXT_TOKENS = 64
_NEAR_TOKENS = 4
"""Tokens before a guess that it is decoded with, since some decoders strip a leading blank."""

Pairs = list[tuple[int, float]]
"""Tokens and their probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Candidate:
    """A position as it stands in the heap: by its KL, then by the sample's id."""

    kl: float
    id: str
    source: str = field(compare=False)
    position: int = field(compare=False)
    context: list[int] = field(compare=False)
    label: int = field(compare=False)
    teacher: Pairs = field(compare=False)
    student: Pairs = field(compare=False)


class WorstPositions:
    """Keeps the worst position of each of the worst samples."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[Candidate] = []

    def add(self, batch: Batch, measures: PositionMeasures, student_probs: Any) -> None:
        """Adds a batch.

        Args:
            batch: the batch.
            measures: its positions.
            student_probs: a function from target numbers [n] to probabilities [n, V].
        """
        worst = [
            (document, document.targets[0] + int(kls.argmax()))
            for document in batch.documents
            if len(kls := measures.kl_bucket[slice(*document.targets)])
        ]
        chosen = [pair for pair in worst if self._enters(measures.kl_bucket[pair[1]])]
        if not chosen:
            return
        numbers = torch.tensor([number for _, number in chosen], device=batch.input_ids.device)
        best = student_probs(numbers).topk(GUESSES)
        teacher = teacher_signals(batch.targets, 1.0).logp_NK[numbers].exp()
        ids = batch.targets.ids_NK[numbers]
        for row, (document, number) in enumerate(chosen):
            self._push(
                _candidate(
                    batch,
                    (document, number, float(measures.kl_bucket[number])),
                    _pairs(ids[row], teacher[row]),
                    _pairs(best.indices[row], best.values[row]),
                )
            )

    def found(self, tokenizer: Any) -> list[Disagreement]:
        """The worst ones, worst first, in text.

        Args:
            tokenizer: decodes ids: a `tokenizers.Tokenizer`.
        """
        return [_in_words(candidate, tokenizer) for candidate in sorted(self._heap, reverse=True)]

    def _enters(self, kl: float) -> bool:
        return self._most > 0 and (len(self._heap) < self._most or kl > self._heap[0].kl)

    def _push(self, candidate: Candidate) -> None:
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, candidate)
        else:
            heapq.heappushpop(self._heap, candidate)


def _candidate(
    batch: Batch, where: tuple[Document, int, float], teacher: Pairs, student: Pairs
) -> Candidate:
    document, number, kl = where
    place = int(batch.targets.rows_N[number]) % batch.input_ids.shape[1]
    first = max(document.start, place + 1 - _CONTEXT_TOKENS)
    return Candidate(
        kl=kl,
        id=document.id,
        source=document.source,
        position=place - document.start,
        context=batch.input_ids[document.row, first : place + 1].tolist(),
        label=int(batch.targets.labels_N[number]),
        teacher=teacher[:GUESSES],
        student=student,
    )


def _pairs(ids: torch.Tensor, probabilities: torch.Tensor) -> Pairs:
    """Without padding, which has probability 0."""
    pairs = zip(ids.tolist(), probabilities.tolist(), strict=True)
    return [(token, p) for token, p in pairs if p > 0]


def _in_words(candidate: Candidate, tokenizer: Any) -> Disagreement:
    def guesses(pairs: Pairs) -> list[Guess]:
        return [
            Guess(text=_text_of(token, candidate.context, tokenizer), probability=p)
            for token, p in pairs
        ]

    return Disagreement(
        id=candidate.id,
        source=candidate.source,
        position=candidate.position,
        context=tokenizer.decode(candidate.context, skip_special_tokens=False),
        token=_text_of(candidate.label, candidate.context, tokenizer),
        kl=candidate.kl,
        teacher=guesses(candidate.teacher),
        student=guesses(candidate.student),
    )


def _text_of(token: int, context: Sequence[int], tokenizer: Any) -> str:
    near = list(context[-_NEAR_TOKENS:])
    before = str(tokenizer.decode(near, skip_special_tokens=False))
    together = str(tokenizer.decode([*near, token], skip_special_tokens=False))
    if together.startswith(before):
        return together[len(before) :]
    return str(tokenizer.decode([token], skip_special_tokens=False))
