"""Everything that users get wrong, through the command line: a clear text, the right exit code.

Each case says what is wrong, what was found and what to do; nothing half-written stays behind.
"""

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas import layout
from tests.dumps import write_dump
from tests.pipeline.command_line import Ran, potstill
from tests.pipeline.students import write_student
from tests.tiny import tiny_teacher, write_rows

TEXT = "The quick brown fox jumps over the lazy dog, and the dog counts the foxes. "
CHAT = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One."}]


@dataclass
class Place:
    """A tiny teacher, a base model without a template, a corpus, a dump, and room to work.

    `out` is where the command under test writes.
    """

    teacher: Path
    base: Path
    corpus: Path
    dump: Path
    room: Path

    @property
    def out(self) -> Path:
        return self.room / "out"

    def dumping(self, **changed: object) -> list[object]:
        given = {"teacher": self.teacher, "corpus": self.corpus, "out": self.out, **changed}
        options = {"dtype": "float32", "unit_size": 4, "max_length": 64, **given}
        flags = [[f"--{name.replace('_', '-')}", value] for name, value in options.items()]
        return ["dump", *(word for flag in flags for word in flag)]

    def training(self, *more: object, student: object = None, dump: object = None) -> list[object]:
        words = ["train", "--dump", dump or self.dump, "--student", student or self.teacher]
        return [*words, "--out", self.out, "--epochs", 1, "--batch-size", 2, *more]

    def rows(self, *lines: object) -> Path:
        return write_rows(self.room / "rows.jsonl", list(lines))  # type: ignore[arg-type]

    def file(self, name: str, content: bytes) -> Path:
        path = self.room / name
        path.write_bytes(content)
        return path

    def changed_teacher(self, **changed: object) -> Path:
        """A copy of the teacher with another configuration."""
        copy = Path(shutil.copytree(self.teacher, self.room / "changed"))
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, **changed}))
        return copy

    def strange_teacher(self) -> Path:
        """What transformers takes for a Llama, and vLLM does not know."""
        return self.changed_teacher(architectures=["StrangeForCausalLM"])

    def damaged_dump(self, change: Callable[[bytes], bytes]) -> Path:
        """A copy of the dump whose first shard was changed."""
        copy = self.copied_dump()
        shard = sorted((copy / layout.DATA).iterdir())[0]
        shard.write_bytes(change(shard.read_bytes()))
        return copy

    def copied_dump(self) -> Path:
        return Path(shutil.copytree(self.dump, self.room / "copy"))

    def changed_manifest(self, **changed: object) -> Path:
        copy = self.copied_dump()
        manifest = copy / layout.MANIFEST
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changed}))
        return copy


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "teacher": tiny_teacher(folder / "teacher"),
        "base": tiny_teacher(folder / "base", chat_template=None),
        "narrow": tiny_teacher(folder / "narrow", vocabulary=300),
    }


@pytest.fixture(scope="module")
def dumped(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dumped")
    rows = [{"text": TEXT * 2 + str(i)} for i in range(6)]
    corpus = write_rows(folder / "corpus.jsonl", rows)
    words = ["--teacher", models["teacher"], "--corpus", corpus, "--out", folder / "dump"]
    ran = potstill("dump", *words, "--dtype", "float32", "--unit-size", 3, "--max-length", 64)
    assert ran.code == 0, ran.err
    return folder / "dump"


@pytest.fixture
def place(models: dict[str, Path], dumped: Path, tmp_path: Path) -> Place:
    return Place(
        teacher=models["teacher"],
        base=models["base"],
        corpus=dumped.parent / "corpus.jsonl",
        dump=dumped,
        room=tmp_path,
    )


@contextmanager
def small_disk(largest: int) -> Iterator[None]:
    """No file may grow beyond `largest` bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refused(ran: Ran, code: int, *parts: str) -> None:
    assert ran.code == code, f"exit code {ran.code}\n{ran.out}\n{ran.err}"
    told = ran.out + ran.err
    assert "Traceback" not in told
    assert "a bug in potstill" not in told
    missing = [part for part in parts if part.lower() not in told.lower()]
    assert not missing, f"{missing} not in\n{told}"


Words = Callable[[Place], list[object]]

DUMPING: dict[str, tuple[Words, tuple[str, ...]]] = {
    "missing model": (
        lambda p: p.dumping(teacher=p.room / "nowhere"),
        ("nowhere",),
    ),
    "misspelt model": (
        lambda p: p.dumping(teacher=p.teacher.parent / "teachr"),
        ("teachr", "teacher"),
    ),
    "no model in the folder": (
        lambda p: p.dumping(teacher=p.room),
        ("config.json",),
    ),
    "missing corpus": (lambda p: p.dumping(corpus=p.room / "no.jsonl"), ("no.jsonl",)),
    "misspelt corpus": (
        lambda p: p.dumping(corpus=p.corpus.with_name("corpse.jsonl")),
        ("corpse.jsonl", "corpus.jsonl"),
    ),
    "misspelt column": (lambda p: p.dumping(text_column="txt"), ("`txt`", "--text-column text")),
    "misspelt option": (lambda p: [*p.dumping(), "--topk", 3], ("--topk", "--top-k")),
    "misspelt YAML key": (
        lambda p: ["dump", p.file("x.yaml", b"teacher: t\ntop_kk: 3\n")],
        ("x.yaml, line 2", "'top_kk'", "'top_k'"),
    ),
    "no such YAML file": (lambda p: ["dump", "no.yaml"], ("no.yaml does not exist",)),
    "value of another kind": (lambda p: p.dumping(top_k="many"), ("top_k", "'many'")),
    "missing options": (lambda p: ["dump"], ("teacher is missing", "corpus is missing")),
    "empty corpus": (lambda p: p.dumping(corpus=p.file("e.jsonl", b"")), ("corpus e is", "empty")),
    "corpus without a single row": (
        lambda p: p.dumping(corpus=p.file("e.jsonl", b"\n\n")),
        ("corpus e is", "empty"),
    ),
    "row that is not JSON": (
        lambda p: p.dumping(corpus=p.file("r.jsonl", b'{"text": "fine"}\n{"text": \n')),
        ("r.jsonl", "line 2"),
    ),
    "row that is not UTF-8": (
        lambda p: p.dumping(corpus=p.file("r.jsonl", b'{"text": "fine"}\n{"text": "\xff"}\n')),
        ("r.jsonl", "line 2", "UTF-8"),
    ),
    "row without its column": (
        lambda p: p.dumping(corpus=p.rows({"text": "fine here"}, {"txt": "not here"})),
        ("line 2", "text"),
    ),
    "empty row": (
        lambda p: p.dumping(corpus=p.rows({"text": "fine here"}, {"text": ""})),
        ("line 2", "empty"),
    ),
    "conversation without a template": (
        lambda p: p.dumping(teacher=p.base, corpus=p.rows({"messages": CHAT})),
        ("chat template", "--chat-template"),
    ),
    "longer than the context": (lambda p: p.dumping(max_length=1000), ("1000", "context of 256")),
    "top-k above the vocabulary": (lambda p: p.dumping(top_k=385), ("385", "vocabulary of 384")),
    "place with something else": (
        lambda p: p.dumping(out=p.file("thesis.tex", b"important").parent),
        ("thesis.tex",),
    ),
    "place that is a file": (lambda p: p.dumping(out=p.file("f", b"x")), ("/f",)),
    "no write permission": (lambda p: p.dumping(out="/sys/potstill"), ("/sys/potstill",)),
    "unknown engine": (lambda p: p.dumping(engine="transformer"), ("transformers",)),
    "option of another engine": (
        lambda p: p.dumping(tensor_parallel_size=2),
        ("tensor_parallel_size", "found it with the engine transformers", "--engine vllm"),
    ),
    "impossible parallel size": (
        lambda p: p.dumping(engine="vllm", tensor_parallel_size=3),
        ("must be divisible", "--tensor-parallel-size"),
    ),
    "teacher that vLLM does not support": (
        lambda p: p.dumping(engine="vllm", teacher=p.strange_teacher()),
        ("StrangeForCausalLM", "--engine transformers"),
    ),
    "teacher with code under vLLM": (
        lambda p: p.dumping(engine="vllm", teacher=p.changed_teacher(auto_map={"AutoModel": "m"})),
        ("auto_map", "--trust-remote-code"),
    ),
    "hidden states by the public path": (
        lambda p: p.dumping(engine="vllm", engine_mode="compat", hidden_layers="1"),
        ("no hidden states", "--engine-mode capture"),
    ),
    "top-k above the vocabulary under vLLM": (
        lambda p: p.dumping(engine="vllm", top_k=385),
        ("385", "vocabulary of 384"),
    ),
}


@pytest.mark.parametrize("case", DUMPING)
def test_dumping(case: str, place: Place) -> None:
    words, parts = DUMPING[case]
    before = {path: path.read_bytes() for path in place.room.iterdir() if path.is_file()}
    made = words(place)
    refused(potstill(*made), 2, *parts)
    assert not place.out.exists()
    for path, content in before.items():
        assert path.read_bytes() == content
    assert not list(place.room.glob("**/*.parquet"))


def test_insecure_serialisation_under_vllm(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")
    refused(potstill(*place.dumping(engine="vllm")), 2, "unset VLLM_ALLOW_INSECURE_SERIALIZATION")
    assert not place.out.exists()


def test_a_full_disk_keeps_what_is_whole_and_the_same_command_goes_on(place: Place) -> None:
    one_shard = place.dumping(unit_size=6)
    with small_disk(30_000):
        ran = potstill(*one_shard)
    refused(ran, 2, "no space left", "same command")
    assert not (place.out / layout.MANIFEST).exists()
    assert not list((place.out / layout.DATA).glob("*.parquet"))
    assert potstill(*one_shard).code == 0
    assert potstill("verify", place.out).code == 0


def test_other_settings_against_an_existing_dump_are_shown(place: Place) -> None:
    assert potstill(*place.dumping()).code == 0
    before = {p: p.read_bytes() for p in place.out.rglob("*") if p.is_file()}
    refused(potstill(*place.dumping(top_k=7)), 3, "top_k", "7", "64")
    assert {p: p.read_bytes() for p in place.out.rglob("*") if p.is_file()} == before


READING: dict[str, tuple[Callable[[Place], Path], int, tuple[str, ...]]] = {
    "nothing there": (lambda p: p.room / "nowhere", 2, ("nowhere",)),
    "no dump": (lambda p: p.file("x", b"x").parent, 2, ("manifest.json",)),
    "cut shard": (
        lambda p: p.damaged_dump(lambda data: data[: len(data) // 2]),
        1,
        ("part-000000", "fresh copy"),
    ),
    "altered shard": (
        lambda p: p.damaged_dump(lambda data: data[:2000] + bytes([data[2000] ^ 1]) + data[2001:]),
        1,
        ("part-000000", "fresh copy"),
    ),
    "altered manifest": (
        lambda p: p.changed_manifest(created_by="me"),
        1,
        ("manifest.json", "altered"),
    ),
    "unknown version": (
        lambda p: p.changed_manifest(format_version=99),
        2,
        ("version 99", "newer"),
    ),
    "unfinished": (lambda p: unfinished(p), 2, ("unfinished",)),
}


def unfinished(place: Place) -> Path:
    """A dump that ran out of disk."""
    with small_disk(30_000):
        assert potstill(*place.dumping(out=place.room / "half", unit_size=6)).code == 2
    return place.room / "half"


@pytest.mark.parametrize("command", ["verify", "inspect", "train", "evaluate"])
@pytest.mark.parametrize("case", READING)
def test_reading_a_dump(case: str, command: str, place: Place) -> None:
    make, code, parts = READING[case]
    path = make(place)
    if (case, command) == ("altered shard", "inspect"):
        return  # it reads the manifest and some ids, not the shards
    words = {
        "train": place.training(dump=path),
        "evaluate": ["evaluate", place.teacher, "--dump", path, "--rows", "all"],
    }.get(command, [command, path])
    refused(potstill(*words), code, *parts)
    assert not (place.teacher / "evaluation.json").exists()
    assert not (place.out / "model.safetensors").exists()


TRAINING: dict[str, tuple[Words, tuple[str, ...]]] = {
    "missing student": (lambda p: p.training(student=p.room / "nobody"), ("nobody",)),
    "no student at all": (
        lambda p: ["train", "--dump", p.dump, "--out", p.out],
        ("--student", "--student-config"),
    ),
    "other tokenizer": (
        lambda p: p.training(student=other_student(p)),
        ("tokenizer", "sha256:"),
    ),
    "temperature that is not held": (
        lambda p: p.training("--temperature", 3),
        ("temperature", "3", "1", "2"),
    ),
    "vocabulary too small": (
        lambda p: p.training(student=narrow_student(p)),
        ("vocabulary",),
    ),
    "layer beyond the checkpoint": (
        lambda p: p.training("--student-layers", "0,9"),
        ("9",),
    ),
    "misspelt loss": (lambda p: p.training("--loss", "fkll"), ("fkll", "fkl")),
    "misspelt argument of a loss": (
        lambda p: p.training("--loss", "0.5*fkl(tial=none) + ce"),
        ("0.5*fkl(tial=none) + ce\n          ^^^^\n", "'tail'"),
    ),
    "loss that ends too early": (
        lambda p: p.training("--loss", "0.5*fkl + "),
        ("the text ends here", "^"),
    ),
    "hidden states that are not there": (
        lambda p: p.training("--loss", "fkl + hidden_mse"),
        ("holds none", "--hidden-layers"),
    ),
    "layer without its pair": (
        lambda p: p.training("--loss", "fkl + hidden_mse(layers=4)"),
        ("student:teacher", "^", "layers=4:10"),
    ),
    "unknown task": (lambda p: p.training("--tasks", "thoughts=1"), ("thoughts", "rationale")),
    "tasks that no row has": (lambda p: p.training("--tasks", "answer=1"), ("--tasks", "parser")),
    "loss without weight": (lambda p: p.training("--loss", "0*fkl"), ("sum to zero",)),
    "temperature of a term not in the dump": (
        lambda p: p.training("--loss", "fkl + jsd(temperature=7)"),
        ("temperature 7", "jsd", "--temperatures"),
    ),
    "option that a sum contradicts": (
        lambda p: p.training("--loss", "fkl(tail=none) + ce", "--tail", "bucket"),
        ("--tail says bucket", "^^^^"),
    ),
    "sum with a weight beside it": (
        lambda p: p.training("--loss", "fkl + rkl", "--ce-weight", "0.1"),
        ("ce_weight 0.1", "0.9*fkl + 0.1*ce"),
    ),
    "term of a loss in YAML without a name": (
        lambda p: [*p.training(), "--config", p.file("l.yaml", b"loss: [{weight: 1}]\n")],
        ("no key 'loss'",),
    ),
    "weight over the steps that is none": (
        lambda p: p.training("--loss", "liner(0, 1)*fkl + ce"),
        ("liner(0, 1)*fkl + ce\n  ^^^^^\n", "'linear'"),
    ),
    "weight that needs more steps than there are": (
        lambda p: p.training("--loss", "linear(0, 1, until=9999)*fkl + ce"),
        ("until=9999", "needs 9999 steps", "--epochs"),
    ),
    "step without a weight": (
        lambda p: p.training("--loss", "linear(0, 1)*fkl"),
        ("0 at step 1",),
    ),
    "warm-up as long as the training": (
        lambda p: p.training("--ce-warmup-steps", 9999),
        ("ce_warmup_steps is 9999",),
    ),
    "measuring on nothing": (
        lambda p: p.training("--eval-steps", 1),
        ("holdout is 0", "--holdout 0.05"),
    ),
    "patience without measurements": (
        lambda p: p.training("--patience", 2, "--holdout", 0.1),
        ("patience 2", "--eval-steps 200"),
    ),
    "average that is none": (
        lambda p: p.training("--ema-decay", 1),
        ("ema_decay", "less than 1"),
    ),
    "nothing held out by chance": (
        lambda p: p.training("--eval-steps", 1, "--holdout", 1e-9),
        ("is left", "--holdout 1e-09"),
    ),
    "token weights that are none": (
        lambda p: p.training("--token-weights", "answer"),
        ("token_weights", "'answer'", "answer=2"),
    ),
    "weights of verdicts that the dump does not hold": (
        lambda p: p.training("--wrong-weight", "0"),
        ("no verdicts", "wrong_weight 0"),
    ),
    "misspelt key": (
        lambda p: ["train", p.file("r.yaml", b"dump: d\nlearning_rat: 1\n")],
        ("r.yaml, line 2", "'learning_rate'"),
    ),
    "no write permission": (
        lambda p: [*p.training()[:5], "--out", "/sys/potstill", "--steps", 1],
        ("/sys/potstill",),
    ),
    "another identity": (
        lambda p: p.training("--expect-dump", "sha256:" + "0" * 64),
        ("sha256:" + "0" * 64,),
    ),
    "place with something else": (
        lambda p: [*p.training()[:5], "--out", p.file("thesis.tex", b"x").parent, "--steps", 1],
        ("thesis.tex",),
    ),
}


def other_student(place: Place) -> Path:
    """A student in whose tokenizer two tokens have changed places."""
    folder = Path(shutil.copytree(place.teacher, place.room / "other"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, two = list(vocabulary)[40:42]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def narrow_student(place: Place) -> Path:
    """A student with the dump's tokenizer, and fewer logits than the dump has ids."""
    folder = Path(shutil.copytree(place.teacher.parent / "narrow", place.room / "narrow"))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (place.teacher / name).exists():
            shutil.copy(place.teacher / name, folder / name)
    return folder


@pytest.mark.parametrize("case", TRAINING)
def test_training(case: str, place: Place) -> None:
    words, parts = TRAINING[case]
    refused(potstill(*words(place)), 2, *parts)
    assert not place.out.exists()


def test_reporting(place: Place) -> None:
    refused(potstill("report", place.room / "no"), 2, "/no", "potstill train")
    refused(potstill("report", place.room), 2, "no student's folder")
    student = write_student(place.room / "student")
    refused(potstill("report", student, "--assert", "kl<<1"), 2, "'kl<<1'", "kl<0.15")
    with small_disk(10_000):
        refused(potstill("report", student), 2, "no space left", "report.html")
    assert sorted(p.name for p in student.iterdir() if p.name.startswith(".")) == []


def test_a_sample_that_is_not_there(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump")
    refused(potstill("inspect", dump.path, "--id", "nobody"), 2, "'nobody'", "s0-00000")
