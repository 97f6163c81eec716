"""Which of the teacher's new prompts are kept, and why the others are not."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stage1_teacher.augment_plan import AugmentPlan, Candidate
from stage1_teacher.near_duplicates import SeenTexts

SEED_TOO_LONG = "seed_too_long"
EMPTY = "empty"
CUT = "cut"
TOO_LONG = "too_long"
NEAR_SEED = "near_seed"
NEAR_NEW = "near_new"

REASONS = {
    SEED_TOO_LONG: "the seed leaves no room for a new prompt in --max-length",
    EMPTY: "the teacher wrote nothing",
    CUT: "cut by --max-new-tokens",
    TOO_LONG: "longer than --max-prompt-tokens",
    NEAR_SEED: "nearly a seed (--similarity)",
    NEAR_NEW: "nearly an earlier new prompt (--similarity)",
}
"""Every reason why a request gives no row, as people are told."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """Requests counted by what became of them."""

    asked: int = 0
    written: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)


def selected(
    candidates: Iterable[Candidate], seeds: Iterable[str], plan: AugmentPlan, tally: Tally
) -> Iterator[dict[str, Any]]:
    """Rows of the new corpus, in the candidates' order; counts all of them in `tally`.

    Seeds and the rows so far are held in memory, to compare with.
    """
    seen = SeenTexts(plan.similarity)
    of_seeds = sum(seen.add(text) is None for text in seeds)
    for candidate in candidates:
        tally.asked += 1
        reason = candidate.rejected or _repeated(candidate, seen, of_seeds)
        if reason:
            tally.rejected[reason] += 1
        else:
            tally.written[candidate.template] += 1
            yield _row(candidate, plan)


def rejection(text: str, tokens: int, finished: bool, longest: int) -> str:
    """Why a new prompt is none whatever the others are; empty when it may be one."""
    if not finished:
        return CUT
    if not any(character.isalnum() for character in text):
        return EMPTY
    return TOO_LONG if tokens > longest else ""


def _repeated(candidate: Candidate, seen: SeenTexts, of_seeds: int) -> str:
    repeats = seen.add(candidate.text)
    if repeats is None:
        return ""
    return NEAR_SEED if repeats < of_seeds else NEAR_NEW


def _row(candidate: Candidate, plan: AugmentPlan) -> dict[str, Any]:
    """A row of the new corpus, which says where it came from."""
    return {
        "id": candidate.id,
        "source": f"{candidate.source}+{candidate.template}",
        "prompt": candidate.text,
        "provenance": {
            "seed": candidate.seed,
            "template": candidate.template,
            "template_sha256": plan.templates[candidate.template],
            "variant": candidate.number,
            "teacher": plan.teacher.name,
            "teacher_revision": plan.teacher.revision,
            "teacher_weights": plan.teacher.weights,
            "sampling_seed": plan.seed,
            "temperature": plan.temperature,
            "top_p": plan.top_p,
        },
    }


def sha256_of(data: bytes) -> str:
    """`sha256:<hex>` of a file's content."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
