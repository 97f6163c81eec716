"""Everything that is known before the teacher writes a word: checked settings, seeds, parts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from schemas.errors import ConfigError
from schemas.licences import UNKNOWN
from schemas.manifest import Corpus as CorpusInfo
from schemas.plan import RowRange
from schemas.progress import Progress, Report
from stage1_teacher.augment_plan import AugmentPlan
from stage1_teacher.augment_requests import Asking, requests
from stage1_teacher.augment_settings import AugmentSettings
from stage1_teacher.augment_templates import open_templates
from stage1_teacher.corpus import Corpus, count_corpus, open_corpus
from stage1_teacher.corpus_rows import Columns, CorpusRow
from stage1_teacher.engine import ENGINES, Engine, EngineSettings, check_engine
from stage1_teacher.settings import DEFAULT_MAX_LENGTH
from stage1_teacher.teacher import TeacherFacts, teacher_facts
from stage1_teacher.teacher_folder import model_license
from stage1_teacher.tokenizer import TeacherTokenizer, load_tokenizer
from stage1_teacher.units import unit_ranges

_TRIED_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedAugment:
    """Work ready to run.

    Attributes:
        plan: everything that decides the outcome.
        parts: half-open ranges of seed rows.
        rows: starts reading the seeds at the first one.
        asking: how seeds become requests.
        tokenizer: the teacher's.
        engine: not started yet.
    """

    plan: AugmentPlan
    parts: Sequence[RowRange]
    rows: Callable[[], Iterator[CorpusRow]]
    asking: Asking
    tokenizer: TeacherTokenizer
    engine: Engine

    @property
    def requests_per_seed(self) -> int:
        """Requests that one seed gives."""
        return len(self.asking.templates) * self.asking.variants


def prepare_augment(settings: AugmentSettings, report: Report) -> PreparedAugment:
    """Makes every check that needs no teacher in memory; reads the seeds once.

    Raises:
        InputError: teacher, corpus, a template or an option is wrong.
    """
    check_engine(settings.engine)
    templates = open_templates(settings.templates)
    corpus = _corpus(settings)
    facts = teacher_facts(settings.teacher, settings.revision, settings.trust_remote_code)
    asking = Asking(
        templates=templates,
        variants=settings.variants,
        longest=_longest(settings, facts),
        budget=settings.max_new_tokens,
    )
    tokenizer = load_tokenizer(
        facts.folder,
        trust_remote_code=settings.trust_remote_code,
        chat_template=settings.chat_template,
    )
    engine = _engine(settings, asking.longest)
    requests(list(islice(corpus.rows(), _TRIED_ROWS)), asking, tokenizer)
    plan = _plan(settings, (facts, tokenizer, engine), corpus, asking, report)
    return PreparedAugment(
        plan=plan,
        parts=unit_ranges(plan.corpus.rows, settings.unit_size),
        rows=corpus.rows,
        asking=asking,
        tokenizer=tokenizer,
        engine=engine,
    )


def _plan(
    settings: AugmentSettings,
    who: tuple[TeacherFacts, TeacherTokenizer, Engine],
    corpus: Corpus,
    asking: Asking,
    report: Report,
) -> AugmentPlan:
    facts, tokenizer, engine = who
    count = count_corpus(corpus, report)
    report(Progress(stage="check teacher", message=f"hashing the weights of {facts.name}"))
    return AugmentPlan(
        teacher=facts.manifest(settings.dtype, model_license(facts.folder) or UNKNOWN),
        engine=engine.info(),
        tokenizer=tokenizer.manifest(facts.head_size),
        corpus=CorpusInfo(
            name=corpus.name,
            fingerprint=count.fingerprint,
            rows=count.rows,
            license="unknown",
            columns=corpus.columns.given,
        ),
        templates={template.name: template.sha256 for template in asking.templates},
        variants=settings.variants,
        temperature=settings.sampling_temperature,
        top_p=settings.top_p,
        seed=settings.seed,
        max_new_tokens=settings.max_new_tokens,
        max_length=asking.longest,
        max_prompt_tokens=settings.max_prompt_tokens,
        similarity=settings.similarity,
        unit_size=settings.unit_size,
    )


def _corpus(settings: AugmentSettings) -> Corpus:
    columns = Columns(
        prompt=settings.prompt_column,
        id=settings.id_column,
        source=settings.source_column,
        prompts_only=True,
    )
    return open_corpus(
        settings.corpus,
        columns,
        subset=settings.subset,
        split=settings.split,
        limit=settings.limit,
    )


def _longest(settings: AugmentSettings, facts: TeacherFacts) -> int:
    context = facts.context or settings.max_length or DEFAULT_MAX_LENGTH
    longest = settings.max_length or min(context, DEFAULT_MAX_LENGTH)
    if longest > context:
        raise ConfigError(
            f"max_length {longest} is longer than the teacher's context of {context} tokens. "
            f"Give --max-length {context} or less."
        )
    if settings.max_new_tokens >= longest:
        raise ConfigError(
            f"max_new_tokens {settings.max_new_tokens} leaves no room for a seed: question and "
            f"new prompt together have at most {longest} tokens. Give fewer."
        )
    return longest


def _engine(settings: AugmentSettings, longest: int) -> Engine:
    return ENGINES[settings.engine](
        EngineSettings(
            model=settings.teacher,
            revision=settings.revision,
            dtype=settings.dtype,
            device=settings.device,
            batch_tokens=settings.batch_tokens,
            max_length=longest,
            trust_remote_code=settings.trust_remote_code,
            mode=settings.engine_mode or "auto",
            options=settings.vllm_options(),
        )
    )
