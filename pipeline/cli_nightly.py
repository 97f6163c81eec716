"""`potstill nightly`: what is new in a corpus becomes a new dump, unattended."""

from dataclasses import asdict
from pathlib import Path

from pipeline.cli_dump import PANELS as OF_DUMP
from pipeline.command import Call, Spec
from pipeline.nightly_settings import NightlySettings

PANELS = {
    "The night": ("teacher", "corpus", "out", "limit", "keep_work", "webhook"),
    **{title: names for title, names in OF_DUMP.items() if title != "What is dumped"},
}


def run(call: Call) -> int:
    """One night under the lock; the status file and the webhook are told how it ended."""
    from pipeline.nightly import Tools, run_night
    from pipeline.nightly_folder import NightlyFolder
    from pipeline.nightly_status import StatusBook, poster

    settings = call.settings
    folder = NightlyFolder(Path(settings.out))
    with folder.locked():
        post = poster(settings.webhook.get_secret_value()) if settings.webhook else None
        book = StatusBook(folder, post)
        status = run_night(settings, folder, book, call.output.report, Tools())
    call.output.result(asdict(status), f"nightly: {status.message}")
    return status.exit_code or 0


SPEC = Spec(
    name="nightly",
    help="Dumps what is new in the corpus since the last time, recognised by content and not by "
    "name, into a new dump beside the others. An unfinished night goes on first. Run it from a "
    "systemd timer or cron; .nightly/status.json in --out says how it went.",
    examples=(
        "potstill nightly nightly.yaml",
        "potstill nightly --teacher org/model --corpus corpus --out dumps --max-failed 0.1%",
    ),
    model=NightlySettings,
    panels=PANELS,
    run=run,
    long=True,
)
