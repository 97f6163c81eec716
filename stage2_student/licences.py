"""Licences of what goes into a student: its dumps' teachers and corpora, and its own checkpoint."""

from collections.abc import Sequence

from schemas.dump_folder import DumpFolder
from schemas.errors import MismatchError
from schemas.licences import UNKNOWN, Stated, forbidden, joint_conditions, stated_in
from stage2_student.student_source import Source


def stated_for(dumps: Sequence[DumpFolder], source: Source | None) -> list[Stated]:
    """What is stated for everything that goes in; `source` is None for a student from scratch."""
    parts = [part for dump in dumps for part in stated_in(dump.manifest)]
    if source is not None:
        license = source.license or UNKNOWN
        parts.append(Stated(role="base model", name=source.name, license=license))
    return parts


def check_licenses(stated: Sequence[Stated], patterns: Sequence[str]) -> None:
    """Checks what goes in against the licences that the user forbids.

    Raises:
        MismatchError: names each thing whose licence is forbidden.
    """
    found = forbidden(stated, patterns)
    if found:
        lines = "".join(f"\n  {part.role} {part.name}: {part.license}" for part in found)
        raise MismatchError(
            f"--forbid-license {','.join(patterns)} refuses what this student would be made of:"
            f"{lines}\nLeave it out, or allow its licence."
        )


def licence_line(stated: Sequence[Stated]) -> str:
    """What holds for the student, in a line; its card says the same at length."""
    found = joint_conditions(stated)
    words = [demand.partition(" (")[0] for demand in found.demands]
    asks = f", which ask for {', '.join(words)}" if words else ""
    parts = ", ".join(dict.fromkeys(f"{part.role} {part.license}" for part in found.stated))
    conflicts = f". Mind: {'; '.join(found.conflicts)}" if found.conflicts else ""
    return f"licences: {parts}{asks}{conflicts}"
