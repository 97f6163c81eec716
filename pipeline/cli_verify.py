"""`potstill verify`: proves a dump whole and aligned, without a teacher."""

from dataclasses import asdict
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.command import Call, Spec
from schemas.errors import ConfigError


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

    @model_validator(mode="after")
    def _plot_of_an_audit(self) -> Self:
        if self.plot is not None and not self.gold:
            raise ConfigError("plot is of an audit. Give --gold, too, or leave it out.")
        return self


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
    from schemas.verify import verify

    found = verify(call.settings.dump, call.output.report)
    alignment = found.alignment.model_dump()
    rows = {
        "dump": found.url,
        "identity": found.identity,
        "read": f"{found.shards:,} shards, {found.rows:,} sequences, {found.tokens:,} tokens, "
        f"{found.positions:,} positions, {found.bytes:,} bytes",
        "alignment": alignment_text(alignment),
    }
    lines = [
        Text(f"✗ {visible(f.where)}: {visible(f.problem)}\n  → {visible(f.cure)}", style="red")
        for f in found.findings
    ]
    verdict = Text("✓ whole and aligned", style="bold green")
    if not found.ok:
        verdict = Text(f"✗ {len(found.findings)} findings: do not use this dump", style="bold red")
    for note in found.notes:
        call.output.note(note)
    data = {**asdict(found), "alignment": alignment, "ok": found.ok}
    call.output.result(data, facts(rows), *lines, verdict)
    if not found.ok:
        return 1
    train = f"potstill train --dump {found.url} --student MODEL --out student"
    call.output.next({"train a student from it": train})
    return 0


SPEC = Spec(
    name="verify",
    help="Proves a dump whole and aligned, without a teacher: hashes, schema, identity, value "
    "ranges, statistics and the alignment self-test. Exit code 1 when something is wrong.",
    examples=(
        "potstill verify dump",
        "potstill verify s3://bucket/dump --json",
        "potstill verify dump --gold --plot policies.html",
    ),
    model=VerifySettings,
    panels={"Audit": ("gold", "plot")},
    positional="dump",
    run=run,
)
