import json
import shutil
from pathlib import Path

import pytest

from pipeline.report import page, write_report
from pipeline.report_data import read_report_data
from pipeline.report_figures import failures, figures
from pipeline.report_words import count, headline, perplexity, share, size
from schemas.errors import ConfigError, InputError
from tests.pipeline.command_line import potstill
from tests.pipeline.students import HOSTILE, evaluation, write_student

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_student(tmp_path_factory.mktemp("report") / "student")
    write_report(folder)
    return folder


def test_the_page_is_one_small_file_that_asks_for_nothing(student: Path) -> None:
    text = (student / "report.html").read_text()
    assert len(text) < 2_000_000
    assert "default-src 'none'" in text
    assert "unsafe-eval" not in text
    assert "src=" not in text.split("<script")[0]
    assert {p.name for p in student.iterdir() if p.name.startswith(".")} == set()


def test_strangers_text_is_neither_markup_nor_control(student: Path) -> None:
    text = (student / "report.html").read_text()
    assert HOSTILE not in text
    assert "alert(1)</script>" not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text
    assert not set("\x1b\u202e") & set(text)


def test_json_has_every_figure(student: Path) -> None:
    found = json.loads((student / "report.json").read_text())
    assert found["figures"]["kl"] == evaluation()["overall"]["kl"]
    assert found["figures"]["code.kl"] == evaluation()["slices"]["code"]["kl"]
    assert found["figures"]["size_ratio"] == pytest.approx(49_600_000 / 134_515_008)
    assert found["figures"]["teacher_bytes"] == 134_515_008 * 4
    assert len(found["steps"]) == 70
    assert found["evaluation"]["disagreements"][0]["teacher"][0]["probability"] == 0.71


@pytest.mark.parametrize(
    "left_out",
    [
        ("evaluation.json",),
        ("train_log.jsonl",),
        ("dump.json", "run.yaml"),
        ("train_log.jsonl", "evaluation.json", "run.yaml"),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_shown(
    tmp_path: Path, left_out: tuple[str, ...]
) -> None:
    folder = write_student(tmp_path / "student", leave_out=left_out)
    data = read_report_data(folder)
    text = page(data)
    assert sorted(data.missing) == sorted(left_out)
    for name in left_out:
        assert f"<code>{name}</code> is not there" in text


def test_an_unmeasured_student_is_not_praised(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "student", leave_out=("evaluation.json",))
    assert "has not been measured" in headline(read_report_data(folder))


def test_the_headline_says_what_was_measured(student: Path) -> None:
    assert headline(read_report_data(student)) == (
        "A student of 49.6M parameters, 37 % of its teacher, picks the same next token as the "
        "teacher at 79.5 % of 4.32k positions that it never saw, with a perplexity of 11.0 where "
        "the teacher has 9.32."
    )


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("evaluation.json", "{", "line 1"),
        ("evaluation.json", '{"overall": {}}', "Field required"),
        ("train_log.jsonl", '{"step": 1, "loss": 1}\nnot json\n', "line 2"),
        ("run.yaml", "a: [", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str, part: str) -> None:
    folder = write_student(tmp_path / "student")
    (folder / name).write_text(content)
    with pytest.raises(InputError) as caught:
        read_report_data(folder)
    assert name in str(caught.value)
    assert part in str(caught.value)


def test_of_a_step_logged_twice_the_later_counts(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "student")
    lines = [{"step": 2, "loss": 9.0}, {"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0}]
    (folder / "train_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [s.loss for s in read_report_data(folder).steps] == [5.0, 4.0]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("kl<0.25", True),
        ("kl < 2.0e-1", False),
        ("agreement>=79.5%", True),
        ("agreement > 79.5 %", False),
        ("code.kl<=0.26", True),
        ("steps==70", True),
    ],
)
def test_conditions(student: Path, condition: str, holds: bool) -> None:
    failed = failures(figures(read_report_data(student)), [condition])
    assert (failed == []) is holds
    assert all(f"{condition} does not hold: " in text for text in failed)


@pytest.mark.parametrize(
    ("condition", "part"),
    [
        ("kl", "found 'kl'"),
        ("kl<x", "'kl<x'"),
        ("perplexty<1", "'perplexity'"),
        ("kl<1.2.3", "'kl<1.2.3'"),
    ],
)
def test_conditions_that_are_none(student: Path, condition: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        failures(figures(read_report_data(student)), [condition])
    assert part in str(caught.value)


def test_the_command_is_a_gate(student: Path) -> None:
    assert potstill("report", student, "--assert", "kl<0.25").code == 0
    ran = potstill("report", student, "--assert", "kl<0.25", "--assert", "kl<0.1", "--json")
    assert ran.code == 1
    assert ran.lines[0]["failed"] == ["kl<0.1 does not hold: kl is 0.21"]
    assert ran.lines[0]["figures"]["kl"] == 0.21


def test_numbers_for_people() -> None:
    assert [count(n) for n in (70, 999.6, 4321, 134_515_008, None)] == [
        *("70", "1,000", "4.32k", "135M", "—")
    ]
    assert [size(n) for n in (12, 269_000_000)] == ["12 B", "269 MB"]
    assert (share(0.7149), perplexity(11.02), perplexity(3032.2)) == ("71.5 %", "11.0", "3,032")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_a_browser_draws_every_chart_without_a_complaint(
    student: Path, width: int, scheme: str, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    told: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab = context.new_page()
        tab.on("console", lambda message: told.append(message.text))
        tab.on("pageerror", lambda error: told.append(str(error)))
        tab.on("request", lambda request: told.append(request.url))
        tab.goto((student / "report.html").as_uri())
        tab.wait_for_function("document.querySelectorAll('.chart svg').length === 4")
        marks = tab.evaluate(
            "[...document.querySelectorAll('.chart')].map("
            "c => c.querySelectorAll('.mark-line path, .mark-area path, .mark-symbol path').length)"
        )
        wide = tab.evaluate("document.documentElement.scrollWidth")
        tab.screenshot(path=tmp_path / "report.png", full_page=True)
        browser.close()
    assert [url for url in told if not url.startswith(("file:", "data:"))] == []
    assert len(marks) == 4
    assert all(count >= 1 for count in marks), marks
    assert marks[2] >= 8, "two points for each of four slices"
    assert wide <= width, "the page scrolls sideways"
