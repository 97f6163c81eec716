"""Corpus rows as the teacher will see them; those that cannot be rendered may be set aside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.errors import CorpusError
from schemas.manifest import Limits
from stage1_teacher.corpus import Corpus
from stage1_teacher.corpus_rows import CorpusRow
from stage1_teacher.generated_rows import Writing
from stage1_teacher.prompt_rows import PromptRenderer
from stage1_teacher.prompts import Renderer, RowSamples
from stage1_teacher.samples import Sample
from stage1_teacher.set_aside import Failure, failure
from stage1_teacher.settings import DumpSettings
from stage1_teacher.teacher import TeacherFacts
from stage1_teacher.tokenizer import TeacherTokenizer

TRIED_ROWS = 32
"""Rows rendered before anything is written: what is wrong with all of them shows here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Rows as the teacher will see them; `skipped` and `truncated` count rows.

    Where the teacher writes itself, samples are prompts: nothing of them is captured. `failures`
    are rows that were set aside.
    """

    samples: list[Sample]
    skipped: int
    truncated: int
    failures: Sequence[Failure] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where samples come from: what a preview of them needs, nothing of it read yet.

    Attributes:
        facts: the teacher as its configuration tells.
        tokenizer: the teacher's.
        corpus: found, its rows unread.
        limits: how rows become sequences.
        writing: how responses are written, where the teacher does that.
    """

    facts: TeacherFacts
    tokenizer: TeacherTokenizer
    corpus: Corpus
    limits: Limits
    writing: Writing | None = None


def one_row_renderer(settings: DumpSettings, source: Source) -> Callable[[CorpusRow], RowSamples]:
    """The function that makes samples, or a prompt, of one row.

    Raises:
        InputError: a system prompt that cannot be read, or for a teacher without a chat template.
    """
    system, tokenizer, limits = settings.system_message(), source.tokenizer, source.limits
    render = (
        Renderer(tokenizer, limits, system).render
        if source.writing is None
        else PromptRenderer(tokenizer, limits, system, settings.template).render
    )

    def one(row: CorpusRow) -> RowSamples:
        if row.problem:
            raise CorpusError(row.problem)
        return render(row)

    return one


def row_renderer(
    settings: DumpSettings, source: Source
) -> Callable[[Sequence[CorpusRow]], Rendered]:
    """The function that makes samples of consecutive rows.

    Raises:
        InputError: as above.
    """
    one = one_row_renderer(settings, source)

    def render(rows: Sequence[CorpusRow]) -> Rendered:
        found: list[RowSamples] = []
        failures: list[Failure] = []
        for row in rows:
            try:
                found.append(one(row))
            except CorpusError as error:
                if not settings.tolerant:
                    raise
                failures.append(failure(row.id, "read", error))
        return Rendered(
            samples=[sample for row in found for sample in row.samples],
            skipped=sum(bool(row.skipped) for row in found),
            truncated=sum(row.cut for row in found),
            failures=failures,
        )

    return render


def try_rendering(
    render: Callable[[Sequence[CorpusRow]], Rendered], rows: Sequence[CorpusRow]
) -> None:
    """Refuses a corpus of which no row can be rendered, however many may fail."""
    failures = render(rows).failures
    if failures and len(failures) == len(rows):
        raise CorpusError(
            f"none of the corpus's first {len(rows)} rows can be used. The first: "
            f"{failures[0].reason}"
        )
