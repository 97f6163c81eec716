"""Text and Parquet from strangers, mutated: nothing but errors of ours may come of it."""

import contextlib
import io
import json
import os
import random
import resource
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.yaml_file import read_yaml
from schemas import layout
from schemas.dump_folder import open_dump
from schemas.errors import PotstillError
from schemas.manifest import Manifest
from schemas.plan import CommitRecord, Plan
from schemas.strict_json import parse_model
from schemas.value_ranges import check_values
from stage1_teacher.corpus_json import read_jsonl
from tests.dumps import Dump, sha, write_dump
from tests.reliability.campaign import Outcome, Tier, scratch
from tests.reliability.rewriting import shard_path, write_manifest
from tests.reliability.small_dump import finish

EACH: dict[Tier, int] = {"pr": 34_000, "nightly": 170_000, "release": 680_000}
MUTANTS: dict[Tier, int] = {"pr": 2_000, "nightly": 20_000, "release": 100_000}
MEMORY = 512 << 20
_YAML_SHARE = 8
"""PyYAML takes a millisecond a page: one in so many."""

_TOKENS = [
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"[]",
    b"{}",
    b'""',
    b"true",
    b"9" * 40,
    b"\xff",
    b"\0",
]
_TOKENS += [
    b'"a":1,"a":2',
    b"[" * 60,
    b'{"a":' * 60,
    b"\xed\xa0\x80",
    b"&a *a",
    b"!!python/object:os",
]

Look = Callable[[bytes], object]


def fuzz(tier: Tier) -> Outcome:
    """Every kind of text that a stranger may hand in."""
    outcome = Outcome()
    with scratch() as folder:
        for name, (seed, look) in _texts(folder).items():
            number = EACH[tier] // (_YAML_SHARE if name == "YAML" else 1)
            for mutated in _mutations(seed, number):
                outcome.count(name)
                _try(outcome, name, look, mutated)
    return outcome


def _texts(folder: Path) -> dict[str, tuple[bytes, Look]]:
    dump = write_dump(folder / "dump", count=4, unit_size=4)
    finish(folder / "grown")
    manifest = dump.path / layout.MANIFEST
    record = folder / "grown" / layout.record_path(0)
    plan = folder / "grown" / layout.PLAN
    lines = b"".join(json.dumps({"text": f"row {i}", "n": i}).encode() + b"\n" for i in range(6))
    settings = b"teacher: some/model\ncorpus: [a.jsonl, b.jsonl]\nmin_prob: 0.002\nout: dump\n"
    at = folder / "run.yaml"
    return {
        "manifests": (manifest.read_bytes(), lambda d: parse_model(Manifest, d, "manifest.json")),
        "records": (record.read_bytes(), lambda d: parse_model(CommitRecord, d, "record")),
        "plans": (plan.read_bytes(), lambda d: parse_model(Plan, d, "plan.json")),
        "JSON lines": (lines, lambda d: list(read_jsonl(io.BytesIO(d), "c.jsonl", _WANTED))),
        "YAML": (settings, lambda d: (at.write_bytes(d), read_yaml(at))),
        "shard names": (dump.manifest.shards[0].name.encode(), _as_name(dump)),
        "ledger lines": (dump.manifest.shards[0].model_dump_json().encode(), _as_line(dump)),
    }


_WANTED = frozenset({"text"})


def _as_name(dump: Dump) -> Look:
    """A manifest that names another shard: it opens only what a shard may be called."""
    first, *others = dump.manifest.shards
    hashed = Manifest.model_construct

    def look(data: bytes) -> object:
        name = data.decode(errors="surrogateescape")
        shard = first.model_copy(update={"name": name})
        manifest = hashed(**{**dict(dump.manifest), "shards": [shard, *others]})
        with contextlib.suppress(UnicodeEncodeError):
            text = json.dumps(manifest.model_dump(mode="json", warnings=False)).encode()
            found = parse_model(Manifest, text, "manifest.json").shards[0].name
            if not layout.SHARD_NAME.fullmatch(found):
                raise RuntimeError(f"the name {found!r} was taken")
        return None

    return look


def _as_line(dump: Dump) -> Look:
    """A line of the ledger in place of the first."""
    text = (dump.path / layout.MANIFEST).read_bytes()
    value = json.loads(text)
    head = json.dumps({**value, "shards": []}).encode().replace(b'"shards": []', b'"shards": [%s]')

    return lambda data: parse_model(Manifest, head.replace(b"%s", data), "manifest.json")


def _try(outcome: Outcome, name: str, look: Look, data: bytes) -> None:
    try:
        look(data)
    except PotstillError as error:
        if not str(error):
            outcome.violate(name, ["an error without words"])
    except Exception as error:
        outcome.violate(name, [f"{type(error).__name__}: {error} from {data[:200]!r}"])


def _mutations(seed: bytes, number: int) -> Iterator[bytes]:
    generator = random.Random(len(seed))
    for _ in range(number):
        data = bytearray(seed)
        for _ in range(generator.choice((1, 1, 1, 2, 4))):
            _mutate(data, generator)
        yield bytes(data)


def _mutate(data: bytearray, generator: random.Random) -> None:
    place = generator.randrange(len(data) + 1)
    end = min(len(data), place + generator.randrange(1, 30))
    kind = generator.randrange(6)
    if kind == 0 and place < len(data):
        data[place] ^= 1 << generator.randrange(8)
    elif kind == 1:
        del data[place:end]
    elif kind == 2:
        data[place:place] = data[place:end]
    elif kind == 3:
        data[place:end] = generator.choice(_TOKENS)
    elif kind == 4:
        data[place:place] = bytes(generator.randrange(256) for _ in range(4))
    elif place > len(data) // 2:
        del data[place:]


def mutants(tier: Tier) -> Outcome:
    """Parquet files with bytes changed where it hurts; each read as every reader does.

    The ledger says their size and hash, so nothing is refused before Arrow sees it. Children read
    them, with a limit on memory and time: that one dies is a violation, too.
    """
    outcome = Outcome()
    with scratch() as folder:
        dump = write_dump(folder / "dump", count=8, unit_size=8)
        whole, number = shard_path(dump).read_bytes(), 0
        while number < MUTANTS[tier]:
            reached, status, problems = _child(dump, whole, number, MUTANTS[tier])
            outcome.violations += problems
            if status:
                outcome.violate(f"mutant {reached}", [f"its reader ended with {status}"])
                reached += 1
            outcome.count("mutants", reached - number)
            number = reached
    return outcome


def _child(dump: Dump, whole: bytes, first: int, end: int) -> tuple[int, int, list[str]]:
    """Reads mutants from `first` on; how far it came, how it ended, what it found."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _limit()
        with os.fdopen(writing, "w") as told:
            try:
                for number in range(first, end):
                    told.write(f"{number}\n")
                    told.flush()
                    _read_mutant(dump, whole, number, told)
                told.write(f"{end}\n")
            except BaseException:
                told.write(json.dumps(traceback.format_exc()) + "\n")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as heard:
        lines = heard.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    numbers = [int(line) for line in lines if line.isdigit()]
    return max(numbers, default=first), status, [line for line in lines if not line.isdigit()]


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _read_mutant(dump: Dump, whole: bytes, number: int, told: io.TextIOBase) -> None:
    generator = random.Random(number)
    shard = dump.manifest.shards[0]
    path = dump.path / layout.DATA / shard.name
    data = _parquet_mutation(bytearray(whole), generator)
    path.write_bytes(data)
    write_manifest(
        dump, shards=[shard.model_copy(update={"bytes": len(data), "sha256": sha(data)})]
    )
    try:
        opened = open_dump(dump.path)
        file = opened.shard_file(opened.shards[0])
        for group in range(file.num_row_groups):
            with opened.reading(shard.name):
                table = file.read_row_group(group)
            check_values(table, opened.manifest, shard.name)
    except PotstillError:
        pass
    except Exception as error:
        told.write(f"mutant {number}: {type(error).__name__}: {str(error)[:200]!r}\n")


def _parquet_mutation(data: bytearray, generator: random.Random) -> bytes:
    """Half of the changes hit the footer, where lengths, offsets and counts are."""
    footer = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - footer if generator.random() < 0.5 else 4
    for _ in range(generator.choice((1, 1, 2, 8, 64))):
        place = generator.randrange(start, len(data) - 4)
        data[place] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))
    return bytes(data)
