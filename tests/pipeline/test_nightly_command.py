"""What a night tells and refuses: locks, settings, the status and its webhook."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipeline import cli_nightly
from pipeline.nightly_folder import NightlyFolder
from pipeline.nightly_settings import NightlySettings
from pipeline.nightly_status import StatusBook, poster
from schemas.errors import ConfigError
from tests.pipeline.command_line import potstill
from tests.pipeline.nights import text
from tests.tiny import write_rows


def test_a_second_run_at_the_same_time_is_refused_and_leaves_the_status_alone(
    teacher, tmp_path, monkeypatch
):
    write_rows(tmp_path / "rows.jsonl", [text(1)])
    words = ["nightly", "--teacher", teacher, "--corpus", tmp_path / "rows.jsonl"]
    words += ["--out", tmp_path / "dumps", "--license", "unknown", "--dtype", "float32"]
    folder = NightlyFolder(tmp_path / "dumps")
    with folder.locked():
        ran = potstill(*words)
    assert ran.code == 3
    assert "another `potstill nightly` works" in ran.err
    assert not (tmp_path / "dumps/.nightly/status.json").exists()
    ran = potstill(*words, "--json")
    assert ran.code == 0, ran.err
    assert [line["event"] for line in ran.lines][:1] == ["launch"]
    assert ran.lines[-1]["event"] == "done" and ran.lines[-1]["state"] == "done"
    ran = potstill(*words)
    assert ran.out.strip() == "nightly: nothing new: all 1 rows were dumped before"


class Hook(BaseHTTPRequestHandler):
    answers: list[int] = []  # noqa: RUF012
    bodies: list[dict] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.answers.pop(0) if self.answers else 200)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def hook():
    Hook.answers, Hook.bodies = [], []
    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret-token"
    server.shutdown()


def test_the_webhook_is_told_the_end_and_its_failure_changes_nothing(hook, tmp_path, caplog):
    Hook.answers = [500]
    pauses = []
    book = StatusBook(NightlyFolder(tmp_path), poster(hook, pauses.append))
    book.close("failed", 5, "the store is gone")
    assert len(Hook.bodies) == 2 and pauses == [1.0]
    assert Hook.bodies[1]["exit_code"] == 5
    assert Hook.bodies[1] == json.loads((tmp_path / ".nightly/status.json").read_text())
    Hook.answers = [500, 500, 500]
    StatusBook(NightlyFolder(tmp_path), poster(hook, pauses.append)).close("done", 0, "fine")
    assert "could not be told" in caplog.text
    assert "secret-token" not in caplog.text


def test_the_webhook_stands_in_no_output(teacher, tmp_path, hook):
    words = ["nightly", "--teacher", teacher, "--corpus", tmp_path, "--out", tmp_path / "d"]
    ran = potstill(*words, "--webhook", hook, "--show-config", "--json")
    assert ran.code == 0, ran.err
    assert "secret-token" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("more", "told"),
    [({"out": "s3://bucket/x"}, "local folder"), ({"webhook": "mailto:me"}, "http")],
)
def test_settings_that_cannot_work_are_refused(more, told):
    with pytest.raises(ConfigError, match=told):
        NightlySettings(**{"teacher": "t", "corpus": "c", "out": "o", **more})


def test_the_settings_of_a_dump_are_all_handed_on():
    settings = NightlySettings(
        teacher="t", corpus="c", out="o", max_failed="1%", limit=5, subset="s", split="test"
    )
    dump = settings.of_dump("rows", "there", "mit")
    assert (dump.corpus, dump.out, dump.corpus_license, dump.max_failed) == (
        *("rows", "there", "mit", "1%"),
    )
    assert (dump.limit, dump.subset, dump.split) == (None, None, "train")
    assert cli_nightly.SPEC.model is NightlySettings
