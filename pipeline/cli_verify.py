"""`potstill verify`: proves a dump whole and aligned, without a teacher."""

import os
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.command import Call, Spec
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from schemas.verify_shard import Finding

_MOST_JOBS = 8


class VerifySettings(BaseModel):
    """Which dump."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dump: str = Field(min_length=1, description="The dump: a folder or any fsspec URL.")
    gold: bool = Field(
        False,
        description="Audit the dump by its gold sample (dump --gold) instead: what the codec, the "
        "tail and the policy lose, beside other policies and their bytes per token.",
    )
    plot: str | None = Field(
        None,
        min_length=1,
        description="Also write the audit's quality-against-bytes plot: a file that ends in .html, "
        ".svg or .png.",
    )

    jobs: int | None = Field(
        None,
        ge=1,
        description="Shards verified at the same time. Default: as many as the machine has cores, "
        "at most 8.",
    )
    subset: str | None = Field(
        None,
        description="Only a share of the shards: 1/7 to 7/7 go through a dump in seven nights.",
    )
    repair: bool = Field(
        False,
        description="Move what is bad aside and re-open its units: the `potstill dump` command "
        "that made the dump then makes them again.",
    )

    @field_validator("subset")
    @classmethod
    def _a_share(cls, subset: str | None) -> str | None:
        if subset is not None:
            share_of(subset)
        return subset

    @model_validator(mode="after")
    def _plot_of_an_audit(self) -> Self:
        if self.plot is not None and not self.gold:
            raise ConfigError("plot is of an audit. Give --gold, too, or leave it out.")
        return self


def share_of(text: str) -> tuple[int, int]:
    """`1/7` as two numbers.

    Raises:
        ConfigError: it is no such share.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part <= parts:
        raise ConfigError(
            f"subset is a share such as 1/7, from 1/7 to 7/7; found {text!r}. Give one of these."
        )
    return part, parts


def run(call: Call) -> int:
    """Verifies, or audits; exit code 1 when something is wrong."""
    return _audit(call) if call.settings.gold else _verify(call)


def _audit(call: Call) -> int:
    from pipeline.gold_audit import audit
    from pipeline.gold_view import check_plot, gold_view, write_plot
    from schemas.dump_folder import open_dump

    settings = call.settings
    if settings.plot is not None:
        check_plot(settings.plot)
    found = audit(open_dump(settings.dump), call.output.report)
    if settings.plot is not None:
        write_plot(found, settings.plot)
    call.output.result({**asdict(found), "ok": found.ok}, *gold_view(found))
    return 0 if found.ok else 1


def _verify(call: Call) -> int:
    from rich.text import Text

    from pipeline.facts import alignment_text, facts
    from pipeline.plain_text import visible
    from schemas.verify import Share, verify

    settings = call.settings
    part, parts = share_of(settings.subset or "1/1")
    found = verify(
        settings.dump,
        call.output.report,
        jobs=settings.jobs or min(_MOST_JOBS, os.cpu_count() or 1),
        share=Share(part=part, parts=parts),
    )
    alignment = found.alignment.model_dump()
    rows = {
        "dump": found.url,
        "identity": found.identity,
        "read": f"{found.shards:,} of {found.of_shards:,} shards, {found.rows:,} sequences, "
        f"{found.tokens:,} tokens, {found.positions:,} positions, {found.bytes:,} bytes",
        "alignment": alignment_text(alignment),
    }
    lines = [
        Text(
            f"✗ {visible(f.where)}: {visible(f.problem)}\n  → {visible(f.cure)}",
            style="red",
        )
        for f in found.findings
    ]
    words = "✓ whole and aligned"
    verdict = Text(f"{words}, this share" if parts > 1 else words, style="bold green")
    if not found.ok:
        verdict = Text(f"✗ {len(found.findings)} findings: do not use this dump", style="bold red")
    for note in found.notes:
        call.output.note(note)
    data = {**asdict(found), "alignment": alignment, "ok": found.ok}
    if settings.repair and not found.ok:
        repaired, words = _repair(settings.dump, found.findings)
        call.output.result({**data, "repaired": repaired}, facts(rows), *lines, Text(words))
        return 1
    call.output.result(data, facts(rows), *lines, verdict)
    if not found.ok:
        return 1
    train = f"potstill train --dump {found.url} --student MODEL --out student"
    call.output.next({"train a student from it": train})
    return 0


def _repair(dump: str, findings: "tuple[Finding, ...]") -> tuple[dict[str, object], str]:
    """What was done, for programs and in words."""
    from pipeline.dump_repair import ASIDE, repair

    done = repair(dump, findings)
    words = (
        f"{len(done.units):,} units are open again, {len(done.aside):,} files were moved to "
        f"{dump}/{ASIDE}. Run the `potstill dump` command that made this dump: it makes them again."
    )
    if not done.units and not done.aside:
        words = "nothing that a repair mends"
    return asdict(done), words + (f" {done.left} findings are left." if done.left else "")


SPEC = Spec(
    name="verify",
    help="Proves a dump whole and aligned, without a teacher: hashes, schema, identity, value "
    "ranges, statistics and the alignment self-test. Exit code 1 when something is wrong.",
    examples=(
        "potstill verify dump",
        "potstill verify s3://bucket/dump --json",
        "potstill verify dump --subset 1/7",
        "potstill verify dump --repair",
        "potstill verify dump --gold --plot policies.html",
    ),
    model=VerifySettings,
    panels={"What is read": ("subset", "jobs"), "Mending": ("repair",), "Audit": ("gold", "plot")},
    positional="dump",
    run=run,
)
