"""What tests of bad input share: a place to get things wrong in, and what a refusal is."""

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas import layout
from tests.pipeline.command_line import Ran
from tests.tiny import write_rows

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
