import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.errors import ConfigError, ConflictError, CorpusError, InputError, StoppedError
from schemas.manifest import Capture
from schemas.manifest import Engine as EngineInfo
from stage1_teacher import augment_preparation
from stage1_teacher.augment import AugmentSummary, augment
from stage1_teacher.augment_requests import request_id
from stage1_teacher.augment_settings import AugmentSettings
from stage1_teacher.augment_templates import TEMPLATES, new_prompt, open_templates
from stage1_teacher.augment_work import AugmentWork
from stage1_teacher.completions import Completion, Prompt, Sampling
from stage1_teacher.corpus import open_corpus
from stage1_teacher.corpus_rows import Columns
from stage1_teacher.engine import EngineSettings
from stage1_teacher.run import dump
from stage1_teacher.settings import DumpSettings
from stage1_teacher.tokenizer import TeacherTokenizer, load_tokenizer
from tests.tiny import tiny_teacher, write_rows

SEEDS = [
    {"id": "apples", "prompt": "Tom has 3 apples and buys 4 more. How many has he?"},
    {"id": "sea", "prompt": "Write a poem about the sea.", "source": "poems"},
    {"messages": [{"role": "user", "content": "What is the capital of France?"}]},
    {"id": "long", "prompt": "why " * 300},
]


class ScriptedEngine:
    """Writes what a function of the question says; nothing of a model is loaded.

    `asked` collects the prompts' ids, `stop_after` interrupts as Ctrl-C does.
    """

    def __init__(self, tokenizer: TeacherTokenizer, write: Callable[[str], str]) -> None:
        self.asked: list[str] = []
        self.stop_after: int | None = None
        self._tokenizer = tokenizer
        self._write = write

    def info(self) -> EngineInfo:
        return EngineInfo(name="scripted", version="1")

    def supported(self, capture: Capture) -> Capture:
        return capture

    def start(self) -> None:
        pass

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, capture: Capture, seed: int
    ) -> Iterator[tuple[int, Completion]]:
        for index in reversed(range(len(prompts))):
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            prompt = prompts[index]
            self.asked.append(prompt.id)
            text = self._write(self._tokenizer.decode(prompt.input_ids.tolist()))
            ids = self._tokenizer.encode(text, special=False).ids[: prompt.max_tokens]
            cut = not text.endswith("</prompt>") and "END" not in text
            output = np.array(ids, np.int32)
            signals: Any = None
            reason = "length" if cut else "stop"
            yield index, Completion(output_ids=output, finish_reason=reason, signals=signals)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    return tiny_teacher(folder, max_position_embeddings=512)


@pytest.fixture
def scripted(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedEngine]:
    def install(write: Callable[[str], str]) -> ScriptedEngine:
        engine = ScriptedEngine(load_tokenizer(teacher), write)

        def made(_: EngineSettings) -> ScriptedEngine:
            return engine

        monkeypatch.setitem(augment_preparation.ENGINES, "transformers", made)  # type: ignore[arg-type]
        return engine

    return install


def settings_of(teacher: Path, folder: Path, **changed: Any) -> AugmentSettings:
    corpus = folder / "seeds.jsonl"
    if not corpus.exists():
        write_rows(corpus, SEEDS)
    for name in ("one", "two"):
        (folder / f"{name}.jinja").write_text(name + ": {{ prompt }}")
    given = {
        "teacher": str(teacher),
        "corpus": str(corpus),
        "out": str(folder / "new.jsonl.zst"),
        "templates": [str(folder / "one.jinja"), str(folder / "two.jinja")],
        "dtype": "float32",
        "max_new_tokens": 120,
        "unit_size": 2,
    }
    return AugmentSettings(**{**given, **changed})


def rows_of(path: str | Path) -> list[dict[str, Any]]:
    """The rows as the dump reads them, provenance parsed."""
    corpus = open_corpus(str(path), Columns(prompts_only=True))
    return [
        {"id": r.id, "source": r.source, "prompt": r.prompt, **json.loads(r.provenance)}
        for r in corpus.rows()
    ]


def echo(question: str) -> str:
    """A new prompt that differs from every other one."""
    kind, _, rest = question.partition("user\n")[2].partition("<|im_end|>")[0].partition(": ")
    return f"{kind.upper()} {rest[::-1]}</prompt> and more</prompt>"


def test_rows_say_where_they_came_from(
    teacher: Path, tmp_path: Path, scripted: Callable[..., ScriptedEngine]
) -> None:
    scripted(echo)
    done = augment(settings_of(teacher, tmp_path, seed=7, similarity=1.0))
    rows = rows_of(done.path)
    assert [row["id"] for row in rows[:4]] == ["apples+one", "apples+two", "sea+one", "sea+two"]
    assert rows[0]["prompt"] == "ONE ?eh sah ynam woH .erom 4 syub dna selppa 3 sah moT"
    assert [row["source"] for row in rows[1:3]] == ["seeds+two", "poems+one"]
    first = rows[0]
    assert (first["seed"], first["template"], first["variant"]) == ("apples", "one", 0)
    assert (first["teacher"], first["sampling_seed"]) == (teacher.name, 7)
    assert first["teacher_weights"].startswith("sha256:")
    assert first["template_sha256"] == open_templates([str(tmp_path / "one.jinja")])[0].sha256
    assert len(rows) == done.written == 6
    assert done.written_by_template == {"one": 3, "two": 3}
    assert done.rejected["seed_too_long"] == 2
    assert done.asked == 8


def written_by(question: str) -> str:
    if "apples" in question:
        return "Tom has 3 apples and buys 4 more. How many has  HE?</prompt>"
    if "two: " in question:
        return "Write a poem about the mountains.</prompt>"
    return {"sea": "...</prompt>", "France": "What is the capital of Spain"}[
        "sea" if "sea" in question else "France"
    ]


def test_everything_that_is_left_out_is_counted_with_its_reason(
    teacher: Path, tmp_path: Path, scripted: Callable[..., ScriptedEngine]
) -> None:
    scripted(written_by)
    done = augment(settings_of(teacher, tmp_path))
    assert done.rejected == {
        "seed_too_long": 2,
        "empty": 1,
        "cut": 1,
        "too_long": 0,
        "near_seed": 2,
        "near_new": 1,
    }
    assert [row["prompt"] for row in rows_of(done.path)] == ["Write a poem about the mountains."]
    assert done.asked == done.written + sum(done.rejected.values())


def test_prompts_that_are_too_long_are_left_out(
    teacher: Path, tmp_path: Path, scripted: Callable[..., ScriptedEngine]
) -> None:
    scripted(echo)
    done = augment(settings_of(teacher, tmp_path, max_prompt_tokens=35))
    assert done.rejected["too_long"] == 2
    assert {row["seed"] for row in rows_of(done.path)} & {"apples"} == set()


def test_an_interrupted_run_goes_on_and_ends_as_if_nothing_had_happened(
    teacher: Path, tmp_path: Path, scripted: Callable[..., ScriptedEngine]
) -> None:
    whole = tmp_path / "whole.jsonl"
    scripted(echo)
    augment(settings_of(teacher, tmp_path, out=str(whole)))
    engine = scripted(echo)
    engine.stop_after = 5
    settings = settings_of(teacher, tmp_path, out=str(tmp_path / "new.jsonl"))
    with pytest.raises(StoppedError, match="run the same command again"):
        augment(settings)
    assert not Path(settings.out).exists()
    with pytest.raises(CorpusError):  # what is under way is no corpus
        list(open_corpus(str(tmp_path / "new.jsonl"), Columns()).rows())
    again = scripted(echo)
    (tmp_path / ".new.jsonl.0123.tmp").write_text("half")
    (tmp_path / ".new.jsonl.work" / ".part-000001.jsonl.0123.tmp").write_text("half")
    done = augment(settings)
    assert not {"apples+one", "apples+two", "sea+one", "sea+two"} & set(again.asked)
    assert Path(settings.out).read_bytes() == whole.read_bytes()
    assert not done.finished_before
    # what a kill may leave in the middle of a write is cleared away
    left = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "new")))
    assert left == ["new.jsonl", "new.jsonl.report.json"]


def test_a_finished_corpus_is_left_as_it_is(
    teacher: Path, tmp_path: Path, scripted: Callable[..., ScriptedEngine]
) -> None:
    scripted(echo)
    settings = settings_of(teacher, tmp_path)
    first = augment(settings)
    before = Path(settings.out).read_bytes()
    engine = scripted(echo)
    second = augment(settings)
    assert second.finished_before
    assert engine.asked == []
    assert Path(settings.out).read_bytes() == before
    same = ("written", "asked", "rejected", "written_by_template", "bytes", "seeds")
    assert all(getattr(first, name) == getattr(second, name) for name in same)


def test_other_settings_foreign_files_and_other_processes_conflict(
    teacher: Path, tmp_path: Path, scripted: Callable[..., ScriptedEngine]
) -> None:
    engine = scripted(echo)
    settings = settings_of(teacher, tmp_path)
    engine.stop_after = 5
    with pytest.raises(StoppedError):
        augment(settings)
    with pytest.raises(ConflictError, match=r"seed: 1 here, 0 there"):
        augment(settings_of(teacher, tmp_path, seed=1))
    with (
        AugmentWork(Path(settings.out)).held(),
        pytest.raises(ConflictError, match="another process"),
    ):
        augment(settings)
    engine.stop_after = None
    augment(settings)
    with pytest.raises(ConflictError, match=r"similarity: 0\.5 here, 0\.8 there"):
        augment(settings_of(teacher, tmp_path, similarity=0.5))
    (tmp_path / "mine.jsonl").write_text("{}\n")
    with pytest.raises(ConflictError, match="exists already"):
        augment(settings_of(teacher, tmp_path, out=str(tmp_path / "mine.jsonl")))
    assert (tmp_path / "mine.jsonl").read_text() == "{}\n"


def test_nothing_left_is_an_error_and_no_file(
    teacher: Path, tmp_path: Path, scripted: Callable[..., ScriptedEngine]
) -> None:
    scripted(lambda _: "cut short")
    settings = settings_of(teacher, tmp_path)
    with pytest.raises(InputError, match="6 cut by --max-new-tokens, 2 the seed leaves"):
        augment(settings)
    assert not Path(settings.out).exists()


def test_a_conversation_without_a_user_is_no_seed(
    teacher: Path, tmp_path: Path, scripted: Callable[..., ScriptedEngine]
) -> None:
    scripted(echo)
    write_rows(tmp_path / "seeds.jsonl", [{"messages": [{"role": "system", "content": "Be."}]}])
    with pytest.raises(CorpusError, match=r"seeds\.jsonl, line 1: the user says nothing"):
        augment(settings_of(teacher, tmp_path))


def with_the_tiny_teacher(teacher: Path, folder: Path, name: str, **changed: Any) -> AugmentSummary:
    return augment(
        settings_of(teacher, folder, out=str(folder / name), variants=6, top_p=1.0, **changed)
    )


def test_the_same_seed_writes_the_same_prompts(teacher: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"sampling_temperature": 3.0, "max_new_tokens": 200, "limit": 3}
    first = with_the_tiny_teacher(teacher, tmp_path, "a.jsonl", **options)
    second = with_the_tiny_teacher(teacher, tmp_path, "b.jsonl", **options)
    third = with_the_tiny_teacher(teacher, tmp_path, "c.jsonl", seed=1, **options)
    assert Path(first.path).read_bytes() == Path(second.path).read_bytes()
    assert Path(first.path).read_bytes() != Path(third.path).read_bytes()
    assert first.written > 0
    assert first.asked == 36 == first.written + sum(first.rejected.values())
    number = {row["variant"] for row in rows_of(first.path)}
    assert len(number) > 1


def test_a_base_model_is_asked_in_plain_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_teacher(tmp_path / "base", chat_template=None, bos=True)
    engine = ScriptedEngine(load_tokenizer(base), lambda q: f"{q[::-1]}</prompt>")
    monkeypatch.setitem(augment_preparation.ENGINES, "transformers", lambda _: engine)
    done = augment(settings_of(base, tmp_path, limit=1, max_prompt_tokens=200))
    assert rows_of(done.path)[0]["prompt"].endswith(":eno>s<")


def test_the_teacher_answers_its_own_prompts_and_the_dump_says_where_they_came_from(
    teacher: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        engine = ScriptedEngine(load_tokenizer(teacher), echo)
        patched.setitem(augment_preparation.ENGINES, "transformers", lambda _: engine)
        new = augment(settings_of(teacher, tmp_path, limit=2, similarity=1.0))
    settings = DumpSettings(
        teacher=str(teacher),
        corpus=new.path,
        out=str(tmp_path / "dump"),
        dtype="float32",
        license="unknown",
        generate=True,
        keep_truncated=True,
        max_new_tokens=8,
    )
    dump(settings)
    shards = sorted((tmp_path / "dump" / "data").iterdir())
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    assert [row["id"] for row in rows] == ["apples+one", "apples+two", "sea+one", "sea+two"]
    assert [row["source"] for row in rows] == ["seeds+one", "seeds+two", "poems+one", "poems+two"]
    origin = json.loads(rows[0]["provenance"])["corpus"]
    assert (origin["seed"], origin["template"], origin["teacher"]) == (
        "apples",
        "one",
        teacher.name,
    )
    assert all(row["response"] for row in rows)


def test_ids_name_variants_only_where_there_are_several() -> None:
    assert request_id("a", "harder", 0, 1) == "a+harder"
    assert request_id("a", "harder", 2, 3) == "a+harder2"


@pytest.mark.parametrize(
    ("written", "prompt"),
    [
        (" Count. </prompt> Sure", "Count."),
        ("Count.", "Count."),
        ("<prompt>\nCount.</prompt>", "Count."),
        ("</prompt>", ""),
    ],
)
def test_the_new_prompt_ends_at_its_tag(written: str, prompt: str) -> None:
    assert new_prompt(written) == prompt


def test_bundled_templates_hold_the_seed_and_ask_for_the_tags() -> None:
    for template in open_templates(TEMPLATES):
        question = template.render("How many {{ apples }}?")
        assert question.count("How many {{ apples }}?") == 1
        assert "between <prompt> and </prompt>" in question
        assert question.count("<prompt>") == question.count("</prompt>") > 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (None, ["no template", "rephrase, harder"]),
        ("no place", ["leaves the seed out", "{{ prompt }}"]),
        ("{{ prompt }} {{ answer }}", ["'answer' is undefined"]),
        ("{{ prompt", ["line 1"]),
        ("{{ prompt.__class__.__mro__ }}", ["unsafe"]),
    ],
)
def test_a_wrong_template_is_refused(text: str | None, parts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        open_templates([str(file)])
    assert all(part in str(refused.value) for part in parts), refused.value


def test_two_templates_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "harder.jinja").write_text("{{ prompt }}")
    with pytest.raises(ConfigError, match="two templates have the name harder"):
        open_templates(["harder", str(tmp_path / "harder.jinja")])
    with pytest.raises(ConfigError, match="Did you mean harder"):
        open_templates(["hardr"])


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"out": "new.json"}, "ends in .jsonl or .jsonl.zst"),
        ({"out": "s3://bucket/new.jsonl"}, "local file"),
        ({"variants": 2, "sampling_temperature": 0}, "would all be the same"),
        ({"engine_mode": "compat"}, "option of vLLM"),
    ],
)
def test_settings_that_contradict_are_refused(changed: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        AugmentSettings(**{"teacher": "t", "corpus": "c", "out": "o.jsonl", **changed})


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"max_length": 1000}, "longer than the teacher's context of 512"),
        ({"max_new_tokens": 512}, "leaves no room for a seed"),
        ({"engine": "transfomers"}, "Did you mean transformers"),
    ],
)
def test_settings_that_do_not_fit_the_teacher_are_refused(
    changed: dict[str, Any], part: str, teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=part):
        augment(settings_of(teacher, tmp_path, **changed))


@pytest.mark.slow
def test_the_real_teacher_writes_prompts(real_teacher: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "seeds.jsonl", SEEDS[:1])
    out = str(tmp_path / "new.jsonl.zst")
    done = augment(
        AugmentSettings(
            teacher=str(real_teacher),
            corpus=str(tmp_path / "seeds.jsonl"),
            out=out,
            dtype="float32",
            templates=["rephrase", "similar"],
            max_new_tokens=48,
        )
    )
    rows = rows_of(out)
    assert len(rows) == done.written > 0
    assert all(len(row["prompt"].split()) > 2 and "<prompt>" not in row["prompt"] for row in rows)
