"""Whether a dump fits a student, from the dump's manifest and the student's small files alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas import layout
from schemas.dump_folder import DumpFolder
from schemas.errors import ModelError
from schemas.licences import joint_conditions
from schemas.strict_json import parse_json
from schemas.tokenizer_fingerprint import FILE, tokenizer_fingerprint
from stage2_student.licences import stated_for
from stage2_student.student_source import Source, model_license, nearest_path

_CARD = "README.md"
_FILES = ("config.json", FILE, _CARD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was compared; `ok` is None where nothing can be said."""

    what: str
    ok: bool | None
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether a dump fits a student.

    Attributes:
        student: as the user named it.
        checks: what was compared.
        bytes_per_epoch: what one pass over data/ streams.
        hidden_bytes: what hidden states add, where there are some and the loss wants them.
        licence: the licence of the student that it would be, and what it asks for, a line each.
    """

    student: str
    checks: tuple[Check, ...]
    bytes_per_epoch: int
    hidden_bytes: int
    licence: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against it."""
        return all(check.ok is not False for check in self.checks)


def student_fit(dump: DumpFolder, student: str) -> Fit:
    """Compares; loads no weights and reads no shard.

    Raises:
        ModelError: there is no such student, or its config.json is none.
    """
    folder = _small_files(student)
    config = _config(folder)
    source = Source(folder=folder, name=student, license=model_license(folder))
    conditions = joint_conditions(stated_for([dump], source))
    lines = (conditions.license, *conditions.demands, *conditions.terms, *conditions.conflicts)
    return Fit(
        student=student,
        checks=tuple(_checks(dump, folder, config)),
        bytes_per_epoch=sum(shard.bytes for shard in dump.shards),
        hidden_bytes=sum(shard.hidden_bytes for shard in dump.shards),
        licence=lines,
    )


def _checks(dump: DumpFolder, folder: Path, config: dict[str, Any]) -> Iterator[Check]:
    manifest = dump.manifest
    yield _tokenizer(dump, folder)
    size, needed = config.get("vocab_size"), manifest.tokenizer.size
    if isinstance(size, int):
        said = f"{size:,} rows in its head; the dump's tokenizer has {needed:,} tokens"
        yield Check(what="vocabulary", ok=size >= needed, said=said)
    context, longest = config.get("max_position_embeddings"), manifest.limits.max_length
    if isinstance(context, int):
        said = f"{context:,} tokens; the dump's sequences have {longest:,} at most"
        yield Check(what="context", ok=context >= longest, said=said)
    width, own = manifest.capture.stored_width, config.get("hidden_size")
    if width and isinstance(own, int):
        same = "alike" if width == own else "a projector is learned"
        said = f"{own:,} wide; the dump's hidden states {width:,}: {same}"
        yield Check(what="hidden states", ok=None, said=said)


def _tokenizer(dump: DumpFolder, folder: Path) -> Check:
    theirs = dump.manifest.tokenizer.fingerprint
    path = folder / FILE
    if not path.is_file():
        kept = FILE in dump.names(layout.TOKENIZER)
        said = "it has no tokenizer.json; the dump's would be taken"
        return Check(what="tokenizer", ok=None if kept else False, said=said)
    own = tokenizer_fingerprint(path.read_bytes())
    said = "the dump's" if own == theirs else f"another one: {own}, the dump's is {theirs}"
    return Check(what="tokenizer", ok=own == theirs, said=said)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} is no model folder: it has no config.json. Give a student's folder, or its "
            "name on the hub."
        )
    found = parse_json(path.read_bytes(), str(path))
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no configuration. Take a fresh copy of the student.")
    text = found.get("text_config")
    return {**found, **text} if isinstance(text, dict) else found


def _small_files(student: str) -> Path:
    """A folder with the student's configuration and tokenizer; of a hub name only those come."""
    path = Path(student).expanduser()
    if path.is_dir():
        return path
    if path.exists() or student.startswith((".", "/", "~")):
        raise ModelError(f"no student at {student}. {nearest_path(student)}".rstrip())
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(student, allow_patterns=list(_FILES)))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"no student {student}: there is no such folder, and the hub says: {reason} "
            f"{nearest_path(student)}"
        ) from error
