"""`potstill dataset export`: a dump in another system's layout."""

from pathlib import Path

from pipeline.command import Call, Spec
from pipeline.dataset_exchange_settings import ExportSettings


def run(call: Call) -> int:
    """Exports."""
    from pipeline.dataset_export import export_dump
    from pipeline.facts import facts

    settings = call.settings
    rows = export_dump(settings, call.output.report)
    size = Path(settings.out).stat().st_size
    data = {"out": settings.out, "to": settings.to, "rows": rows, "bytes": size}
    call.output.result(data, facts({"file": settings.out, "holds": f"{rows:,} rows, {size:,} B"}))
    return 0


SPEC = Spec(
    name="dataset export",
    help="Writes a dump in another system's layout. For axolotl: tokenised rows of its kd plug-in, "
    "one Parquet file. Its layout has no tail: what lies outside the kept entries is lost there.",
    examples=("potstill dataset export dump --to axolotl --out rows.parquet",),
    model=ExportSettings,
    panels={"Where to": ("to", "out")},
    positional="dump",
    run=run,
    long=True,
)
