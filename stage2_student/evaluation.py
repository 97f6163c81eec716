"""What an evaluation found: evaluation.json, from which a report is made."""

from pydantic import BaseModel, ConfigDict


class Found(BaseModel):
    """A part of evaluation.json."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Metrics(Found):
    """Means over positions; cross-entropies and divergences in nats.

    Attributes:
        positions: how many.
        documents: texts that they are of.
        cross_entropy: of the student, on the realised tokens.
        perplexity: exp of it.
        teacher_cross_entropy: of the teacher, as stored.
        teacher_perplexity: exp of it.
        kl: KL(teacher ‖ student) over the full vocabulary, estimated without bias from the kept
            entries and the tail sample; without a tail sample the same as `kl_bucket`.
        kl_low: lower end of its 95 % interval, by bootstrap over documents.
        kl_high: upper end.
        kl_bucket: the same KL with everything outside the kept entries as one outcome: exact, and
            a lower bound.
        agreement: share of positions where both models' most probable token is the same.
        ece: expected calibration error of the student's most probable token.
        teacher_ece: of the teacher's.
    """

    positions: int
    documents: int
    cross_entropy: float
    perplexity: float
    teacher_cross_entropy: float
    teacher_perplexity: float
    kl: float
    kl_low: float
    kl_high: float
    kl_bucket: float
    agreement: float
    ece: float
    teacher_ece: float


class Bin(Found):
    """Positions whose most probable token got a probability in (lower, upper].

    Attributes:
        lower: of the bin.
        upper: of the bin.
        count: positions in it.
        confidence: mean probability of the most probable token; 0 in an empty bin.
        accuracy: how often that token came; 0 in an empty bin.
    """

    lower: float
    upper: float
    count: int
    confidence: float
    accuracy: float


class Guess(Found):
    """A token that a model thought of, and its probability."""

    text: str
    probability: float


class Disagreement(Found):
    """The position of a sample where student and teacher differ most.

    Attributes:
        id: the sample.
        source: its corpus and slice.
        position: the position in it.
        context: the text up to there.
        token: what came.
        kl: lower bound of KL(teacher ‖ student) there (`kl_bucket`: it has no sampling noise).
        teacher: its most probable tokens.
        student: its most probable tokens.
    """

    id: str
    source: str
    position: int
    context: str
    token: str
    kl: float
    teacher: list[Guess]
    student: list[Guess]


class StudentModel(Found):
    """The student: `parameters` counts tied ones once, `bytes` are those of its weight files."""

    name: str
    architecture: str
    parameters: int
    bytes: int
    dtype: str


class TeacherModel(Found):
    """The teacher, as the dump's manifest describes it."""

    name: str
    parameters: int
    dtype: str


class Speed(Found):
    """What running the student took.

    Attributes:
        device: where it ran.
        dtype: its weights and activations.
        tokens_per_second: reading the held-out text, output head included.
        generated_per_second: writing greedily, one sequence.
        memory_bytes: most memory in use: of the device, or of the process on a CPU.
    """

    device: str
    dtype: str
    tokens_per_second: float
    generated_per_second: float
    memory_bytes: int


class Evaluation(Found):
    """evaluation.json.

    Attributes:
        student: what was measured.
        teacher: whom it was compared with.
        dumps: identities of the dumps.
        rows: "held-out" or "all".
        only: what they were chosen by besides, as options.
        holdout: share of the documents that was held out; 1 for all.
        kl_estimator: "sample", or "bucket" when the dumps hold no tail sample.
        overall: over all positions.
        slices: per source.
        calibration: of the student.
        teacher_calibration: of the teacher.
        disagreements: the worst ones, worst first, one per sample.
        speed: time and memory.
    """

    student: StudentModel
    teacher: TeacherModel
    dumps: list[str]
    rows: str
    only: list[str] = []
    holdout: float
    kl_estimator: str
    overall: Metrics
    slices: dict[str, Metrics]
    calibration: list[Bin]
    teacher_calibration: list[Bin]
    disagreements: list[Disagreement]
    speed: Speed
