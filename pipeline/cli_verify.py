"""`potstill verify`: proves a dump whole and aligned, without a teacher."""

from dataclasses import asdict

from pydantic import BaseModel, ConfigDict, Field

from pipeline.command import Call, Spec


class VerifySettings(BaseModel):
    """Which dump."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dump: str = Field(min_length=1, description="The dump: a folder or any fsspec URL.")


def run(call: Call) -> int:
    """Verifies; exit code 1 when something is wrong."""
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
    examples=("potstill verify dump", "potstill verify s3://bucket/dump --json"),
    model=VerifySettings,
    panels={},
    positional="dump",
    run=run,
)
