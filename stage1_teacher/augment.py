"""New prompts after seed examples, written by the teacher. Run again, it continues.

The seeds are cut into parts; a finished part is saved and never asked for again. Near-duplicates
are left out at the end, in the order of the seeds, so that the result does not depend on when the
work was interrupted. Every draw's seed is made of `seed` and the row's id.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError, StoppedError
from schemas.manifest import Capture
from schemas.progress import Progress, Report, ignore
from stage1_teacher.augment_plan import AugmentReport, Candidate
from stage1_teacher.augment_preparation import PreparedAugment, prepare_augment
from stage1_teacher.augment_requests import Request, requests, seed_text
from stage1_teacher.augment_selection import (
    REASONS,
    SEED_TOO_LONG,
    Tally,
    rejection,
    selected,
    sha256_of,
)
from stage1_teacher.augment_settings import AugmentSettings
from stage1_teacher.augment_templates import END, new_prompt
from stage1_teacher.augment_work import AugmentWork, check_plan, corpus_bytes
from stage1_teacher.completions import Completion, Sampling
from stage1_teacher.interruption import Interruption, interruption
from stage1_teacher.units import RowCursor

_NOTHING = Capture(min_prob=None, top_k=1, tail_samples=0, temperatures=[1.0])
"""What engines capture here: as little as there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentSummary:
    """What a finished corpus of new prompts holds.

    Attributes:
        path: its file.
        finished_before: it was there already; nothing was done.
        seeds: rows of the seed corpus.
        asked: new prompts that the teacher was asked for.
        written: rows of the new corpus.
        written_by_template: the same by template.
        rejected: what gave no row, by reason.
        bytes: size of the file.
        seconds: time that this run took.
    """

    path: str
    finished_before: bool
    seeds: int
    asked: int
    written: int
    written_by_template: dict[str, int]
    rejected: dict[str, int]
    bytes: int
    seconds: float


def augment(settings: AugmentSettings, report: Report = ignore) -> AugmentSummary:
    """Writes a corpus of new prompts, or goes on where an earlier run stopped.

    Raises:
        PotstillError: the input, an option or the place is wrong, or nothing was left to write;
            see its text.
        StoppedError: Ctrl-C or SIGTERM; finished parts are kept.
    """
    with interruption() as asked:
        try:
            return _augment(settings, report, asked)
        except KeyboardInterrupt:
            raise StoppedError(
                f"stopped on request. The work so far is kept beside {settings.out}: run the same "
                "command again to go on."
            ) from None


def _augment(settings: AugmentSettings, report: Report, asked: Interruption) -> AugmentSummary:
    started = time.monotonic()
    work = AugmentWork(Path(settings.out).expanduser())
    before = work.finished()
    prepared = prepare_augment(settings, report)
    if before is not None:
        check_plan(prepared.plan, before.plan, work.out)
        work.clear()
        return _summary(settings.out, before, time.monotonic() - started, finished_before=True)
    with work.held():
        work.agree(prepared.plan)
        _Writer(prepared, work, report, asked).run()
        done = _publish(prepared, work)
    return _summary(settings.out, done, time.monotonic() - started)


class _Writer:
    """Asks the teacher for the parts that are missing."""

    def __init__(
        self, prepared: PreparedAugment, work: AugmentWork, report: Report, asked: Interruption
    ) -> None:
        self._prepared = prepared
        self._work = work
        self._report = report
        self._asked = asked
        self._done = 0

    def run(self) -> None:
        prepared, cursor = self._prepared, RowCursor(self._prepared.rows)
        there = self._work.parts()
        missing = [part for part in range(len(prepared.parts)) if part not in there]
        kept = sum(end - start for part, (start, end) in enumerate(prepared.parts) if part in there)
        self._done = kept * prepared.requests_per_seed
        if missing:
            name = prepared.plan.teacher.name
            self._report(Progress(stage="load teacher", message=f"loading {name}"))
            prepared.engine.start()
        for part in missing:
            wanted = requests(
                cursor.rows(*prepared.parts[part]), prepared.asking, prepared.tokenizer
            )
            with self._asked.deferred():
                self._work.save(part, self._written(wanted))

    def _written(self, wanted: Sequence[Request]) -> list[Candidate]:
        """The candidates of one part, in the order of their requests."""
        plan = self._prepared.plan
        sampling = Sampling(
            temperature=plan.temperature, top_p=plan.top_p, stop=(END,), seed=plan.seed
        )
        found = [_unasked(request) for request in wanted]
        asked = [(place, r.prompt) for place, r in enumerate(wanted) if r.prompt is not None]
        self._tick(len(wanted) - len(asked))
        engine = self._prepared.engine
        capture = engine.supported(_NOTHING)
        prompts = [prompt for _, prompt in asked]
        for index, completion in engine.generate(prompts, sampling, capture, plan.seed):
            place = asked[index][0]
            found[place] = self._candidate(wanted[place], completion)
            self._tick(1)
        return found

    def _candidate(self, request: Request, completion: Completion) -> Candidate:
        tokenizer = self._prepared.tokenizer
        written = tokenizer.decode(completion.output_ids.tolist(), skip_special_tokens=True)
        text = new_prompt(written)
        tokens = len(tokenizer.encode(text, special=False).ids)
        finished = completion.finish_reason == "stop" or END in written
        rejected = rejection(text, tokens, finished, self._prepared.plan.max_prompt_tokens)
        return _candidate(request, text, tokens, rejected)

    def _tick(self, count: int) -> None:
        self._done += count
        total = self._prepared.plan.corpus.rows * self._prepared.requests_per_seed
        self._report(Progress(stage="augment", done=self._done, total=total, unit="prompts"))
        self._asked.check()


def _publish(prepared: PreparedAugment, work: AugmentWork) -> AugmentReport:
    plan, tally = prepared.plan, Tally()
    candidates = work.candidates(len(prepared.parts))
    rows = selected(candidates, _seed_texts(prepared), plan, tally)
    data = corpus_bytes(rows, work.out.name)
    if not tally.written:
        raise InputError(
            f"no new prompt is left of {tally.asked:,}: {reasons_text(tally.rejected)}. Ask "
            "another teacher, or change what rejects them and choose another --out."
        )
    done = AugmentReport(
        plan=plan,
        seeds=plan.corpus.rows,
        asked=tally.asked,
        written=tally.written.total(),
        written_by_template={name: tally.written[name] for name in plan.templates},
        rejected={reason: tally.rejected[reason] for reason in REASONS},
        sha256=sha256_of(data),
        bytes=len(data),
    )
    work.publish(data, done)
    return done


def reasons_text(rejected: dict[str, int]) -> str:
    """Counts of rejections for people, the most frequent first."""
    most = sorted(rejected.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {REASONS[reason]}" for reason, count in most if count)


def _seed_texts(prepared: PreparedAugment) -> Iterator[str]:
    return (seed_text(row) for row in prepared.rows())


def _unasked(request: Request) -> Candidate:
    return _candidate(request, "", 0, SEED_TOO_LONG)


def _candidate(request: Request, text: str, tokens: int, rejected: str) -> Candidate:
    return Candidate(
        id=request.id,
        seed=request.seed.id,
        source=request.seed.source,
        template=request.template.name,
        number=request.number,
        text=text,
        tokens=tokens,
        rejected=rejected,
    )


def _summary(
    out: str, done: AugmentReport, seconds: float, finished_before: bool = False
) -> AugmentSummary:
    return AugmentSummary(
        path=out,
        finished_before=finished_before,
        seeds=done.seeds,
        asked=done.asked,
        written=done.written,
        written_by_template=done.written_by_template,
        rejected=done.rejected,
        bytes=done.bytes,
        seconds=seconds,
    )
