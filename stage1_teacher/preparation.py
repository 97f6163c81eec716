"""Everything that is known before the teacher runs: checked settings, rows, units, tokenizer.

The checks come in the order of their cost: the options, the folder, the teacher's configuration and
tokenizer, one pass over the corpus, and last the hash of the teacher's weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from schemas.errors import CorpusError
from schemas.manifest import Corpus as CorpusInfo
from schemas.manifest import Limits, Setting, Settings
from schemas.plan import RowRange
from schemas.progress import Progress, Report
from stage1_teacher.commit_plan import check_place
from stage1_teacher.corpus import Corpus, CorpusCount, count_corpus, open_corpus
from stage1_teacher.corpus_card import corpus_license
from stage1_teacher.corpus_rows import Columns, CorpusRow
from stage1_teacher.engine import ENGINES, Engine, EngineSettings, check_engine
from stage1_teacher.generated_rows import Writing
from stage1_teacher.gold import GoldRecipe, announced_layers, gold_recipe
from stage1_teacher.hidden_policy import check_layers, check_projection, with_widths
from stage1_teacher.licence_settings import Licenses
from stage1_teacher.preview_shard import Decoder
from stage1_teacher.privacy import private_rows
from stage1_teacher.rendering import TRIED_ROWS, Rendered, Source, row_renderer, try_rendering
from stage1_teacher.settings import DumpSettings
from stage1_teacher.teacher import teacher_facts
from stage1_teacher.teacher_folder import model_license
from stage1_teacher.tokenizer import TeacherTokenizer, load_tokenizer
from stage1_teacher.units import unit_ranges
from stage1_teacher.vllm_options import knobs


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
        allowed_failures: samples that may be set aside.
        gold: how the gold sample is made, where there shall be one.
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
    allowed_failures: int = 0
    gold: GoldRecipe | None = None


def open_source(settings: DumpSettings) -> Source:
    """Finds teacher, tokenizer and corpus; checks the options against them.

    Raises:
        InputError: one of them is missing or wrong, or an option does not fit the teacher.
    """
    corpus = corpus_of(settings)
    corpus = replace(corpus, change=private_rows(settings, corpus.name))
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
    try_rendering(render, list(islice(source.corpus.rows(), TRIED_ROWS)))
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
        allowed_failures=settings.allowed_failures(plan.corpus.rows),
        gold=gold_recipe(settings, source.facts.folder),
    )


def _plan_settings(
    settings: DumpSettings, source: Source, engine: Engine, licenses: Licenses, report: Report
) -> Settings:
    count = count_corpus(source.corpus, report)
    _check_unusable(count, settings)
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
            source.facts.layers,
        ),
        limits=source.limits,
        generation=source.writing.plan if source.writing else None,
        privacy=settings.privacy(),
    )


def _check_unusable(count: CorpusCount, settings: DumpSettings) -> None:
    allowed = settings.allowed_failures(count.rows)
    if count.unusable > allowed:
        raise CorpusError(
            f"{count.unusable:,} of {count.rows:,} rows of the corpus cannot be used, and "
            f"--max-failed {settings.max_failed} allows {allowed:,}. The first: {count.problem}"
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
            hidden_layers=announced_layers(settings),
            trust_remote_code=settings.trust_remote_code,
            mode=settings.engine_mode or "auto",
            options=settings.vllm_options(),
        )
    )


def corpus_of(settings: DumpSettings) -> Corpus:
    """The corpus that the settings name, found and not yet read.

    Raises:
        CorpusError: there is none, or it is of no kind that can be read.
    """
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
        tolerant=settings.tolerant,
    )
