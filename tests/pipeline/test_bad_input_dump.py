"""What users get wrong with `dump`, through the command line: a clear text, the right exit code.

Each case says what is wrong, what was found and what to do; nothing half-written stays behind.
"""

import pytest

from schemas import layout
from tests.pipeline.bad_input import CHAT, Place, Words, refused, small_disk
from tests.pipeline.command_line import potstill

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
