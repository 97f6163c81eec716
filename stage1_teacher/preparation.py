"""Everything that is known before the teacher runs: checked settings, rows, units, tokenizer.

The checks come in the order of their cost: the options, the folder, the teacher's configuration and
tokenizer, one pass over the corpus, and last the hash of the teacher's weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from schemas.manifest import Corpus as CorpusInfo
from schemas.manifest import Limits, Setting, Settings
from schemas.plan import RowRange
from schemas.progress import Progress, Report
from stage1_teacher.commit_plan import check_place
from stage1_teacher.corpus import Corpus, count_corpus, open_corpus
from stage1_teacher.corpus_card import corpus_license
from stage1_teacher.corpus_rows import Columns, CorpusRow
from stage1_teacher.engine import ENGINES, Engine, EngineSettings, check_engine
from stage1_teacher.generated_rows import Writing
from stage1_teacher.hidden_policy import check_layers, check_projection, with_widths
from stage1_teacher.licence_settings import Licenses
from stage1_teacher.preview_shard import Decoder
from stage1_teacher.prompt_rows import PromptRenderer
from stage1_teacher.prompts import Renderer, RowSamples
from stage1_teacher.samples import Sample
from stage1_teacher.settings import DumpSettings
from stage1_teacher.teacher import TeacherFacts, teacher_facts
from stage1_teacher.teacher_folder import model_license
from stage1_teacher.tokenizer import TeacherTokenizer, load_tokenizer
from stage1_teacher.units import unit_ranges
from stage1_teacher.vllm_options import knobs

_TRIED_ROWS = 32
"""Rows rendered before anything is written: what is wrong with all of them shows here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Rows as the teacher will see them; `skipped` and `truncated` count rows.

    Where the teacher writes itself, samples are prompts: nothing of them is captured.
    """

    samples: list[Sample]
    skipped: int
    truncated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A dump ready to run.

    Attributes:
        settings: everything that decides the numbers, as the plan holds it.
        units: half-open ranges of rows.
        rows: starts reading the corpus at its first row.
        render: makes samples of consecutive rows.
        engine: not started yet.
        batch_tokens: token budget of one forward pass.
        tokenizer_files: what stands in tokenizer/, by name.
        decoder: the tokenizer, for the readable preview.
        writing: how responses are written, where the teacher does that.
        engine_options: settings of the engine that decide no numbers, for the plan to record.
    """

    settings: Settings
    units: list[RowRange]
    rows: Callable[[], Iterator[CorpusRow]]
    render: Callable[[Sequence[CorpusRow]], Rendered]
    engine: Engine
    batch_tokens: int
    tokenizer_files: Mapping[str, bytes]
    decoder: Decoder
    writing: Writing | None = None
    engine_options: Mapping[str, Setting] = field(default_factory=dict)


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


def open_source(settings: DumpSettings) -> Source:
    """Finds teacher, tokenizer and corpus; checks the options against them.

    Raises:
        InputError: one of them is missing or wrong, or an option does not fit the teacher.
    """
    corpus = _corpus(settings)
    facts = teacher_facts(settings.teacher, settings.revision, settings.trust_remote_code)
    check_layers(settings.hidden_layers, facts.layers)
    check_projection(settings.hidden_projection, facts.hidden_size)
    limits = settings.limits(facts.context, facts.head_size)
    tokenizer = load_tokenizer(
        facts.folder,
        trust_remote_code=settings.trust_remote_code,
        chat_template=settings.chat_template,
    )
    return Source(
        facts=facts,
        tokenizer=tokenizer,
        corpus=corpus,
        limits=limits,
        writing=_writing(settings, tokenizer, limits),
    )


def prepare(settings: DumpSettings, report: Report) -> Prepared:
    """Makes every check that needs no teacher in memory; reads the corpus once.

    Raises:
        InputError: teacher, corpus, an option or the dump's place is wrong.
        ConflictError: the dump at `out` has other settings.
    """
    check_engine(settings.engine)
    check_place(settings.out)
    source = open_source(settings)
    if source.writing is not None:
        source.writing.check()
    engine = _engine(settings, source.limits)
    licenses = settings.licenses(
        model_license(source.facts.folder), corpus_license(settings.corpus, source.corpus)
    )
    render = row_renderer(settings, source)
    plan = _plan_settings(settings, source, engine, licenses, report)
    check_place(settings.out, plan)
    render(list(islice(source.corpus.rows(), _TRIED_ROWS)))
    return Prepared(
        settings=plan,
        units=unit_ranges(plan.corpus.rows, settings.unit_size),
        rows=source.corpus.rows,
        render=render,
        engine=engine,
        engine_options=knobs(settings.vllm_options()),
        batch_tokens=settings.batch_tokens,
        tokenizer_files=source.tokenizer.files(),
        decoder=source.tokenizer,
        writing=source.writing,
    )


def one_row_renderer(settings: DumpSettings, source: Source) -> Callable[[CorpusRow], RowSamples]:
    """The function that makes samples, or a prompt, of one row.

    Raises:
        InputError: a system prompt that cannot be read, or for a teacher without a chat template.
    """
    system = settings.system_message()
    if source.writing is None:
        return Renderer(source.tokenizer, source.limits, system).render
    return PromptRenderer(source.tokenizer, source.limits, system, settings.template).render


def row_renderer(
    settings: DumpSettings, source: Source
) -> Callable[[Sequence[CorpusRow]], Rendered]:
    """The function that makes samples of consecutive rows.

    Raises:
        InputError: as above.
    """
    one = one_row_renderer(settings, source)

    def render(rows: Sequence[CorpusRow]) -> Rendered:
        found = [one(row) for row in rows]
        return Rendered(
            samples=[sample for row in found for sample in row.samples],
            skipped=sum(bool(row.skipped) for row in found),
            truncated=sum(row.cut for row in found),
        )

    return render


def _plan_settings(
    settings: DumpSettings, source: Source, engine: Engine, licenses: Licenses, report: Report
) -> Settings:
    count = count_corpus(source.corpus, report)
    report(Progress(stage="check teacher", message=f"hashing the weights of {source.facts.name}"))
    return Settings(
        teacher=source.facts.manifest(settings.dtype, licenses.teacher, licenses.output_terms),
        engine=engine.info(),
        tokenizer=source.tokenizer.manifest(source.facts.head_size),
        corpus=CorpusInfo(
            name=source.corpus.name,
            fingerprint=count.fingerprint,
            rows=count.rows,
            license=licenses.corpus,
            columns=source.corpus.columns.given,
            prompt_template=settings.system_message(),
        ),
        capture=with_widths(
            engine.supported(settings.capture()),
            source.facts.hidden_size,
            settings.hidden_projection,
        ),
        limits=source.limits,
        generation=source.writing.plan if source.writing else None,
    )


def _writing(settings: DumpSettings, tokenizer: TeacherTokenizer, limits: Limits) -> Writing | None:
    plan = settings.generation(limits.max_length, limits.seed)
    if plan is None:
        return None
    return Writing(plan=plan, tokenizer=tokenizer, max_length=limits.max_length)


def _engine(settings: DumpSettings, limits: Limits) -> Engine:
    return ENGINES[settings.engine](
        EngineSettings(
            model=settings.teacher,
            revision=settings.revision,
            dtype=settings.dtype,
            device=settings.device,
            batch_tokens=settings.batch_tokens,
            max_length=limits.max_length,
            hidden_layers=tuple(settings.hidden_layers),
            trust_remote_code=settings.trust_remote_code,
            mode=settings.engine_mode or "auto",
            options=settings.vllm_options(),
        )
    )


def _corpus(settings: DumpSettings) -> Corpus:
    columns = Columns(
        text=settings.text_column,
        prompt=settings.prompt_column,
        response=settings.response_column,
        messages=settings.messages_column,
        id=settings.id_column,
        source=settings.source_column,
        gold=(settings.gold_column or "gold") if settings.verifier else None,
        prompts_only=settings.generate,
    )
    return open_corpus(
        settings.corpus,
        columns,
        subset=settings.subset,
        split=settings.split,
        limit=settings.limit,
    )
