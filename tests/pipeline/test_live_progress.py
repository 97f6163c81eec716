import io

from rich.console import Console

from pipeline.live_progress import BarView, LineView, duration, figures_text
from schemas.progress import Progress


def tick(done: float, stage: str = "dump", **more: object) -> Progress:
    return Progress(stage=stage, done=done, total=100, unit="tokens", **more)  # type: ignore[arg-type]


def test_lines_come_once_a_minute_and_say_how_long() -> None:
    lines: list[str] = []
    now = [0.0]
    view = LineView(lines.append, clock=lambda: now[0])
    for second in range(0, 121, 10):
        now[0] = second
        view.show(tick(20 + second / 4, figures={"tokens/s": 1234.5, "loss": 2.345}))
    assert len(lines) == 3
    assert lines[0] == "dump: 20 of 100 tokens (20%), 1,234 tokens/s, loss 2.35"
    assert lines[2].endswith("loss 2.35, 3 min left")  # 50 left at 0.25 a second


def test_a_new_stage_a_sentence_and_the_end_are_always_said() -> None:
    lines: list[str] = []
    view = LineView(lines.append, clock=lambda: 0.0)
    view.show(tick(1))
    view.show(tick(2))
    view.show(Progress(stage="dump", message="waiting for others"))
    view.show(tick(1, stage="train"))
    view.show(tick(100, stage="train"))
    assert lines == [
        "dump: 1 of 100 tokens (1%)",
        "waiting for others",
        "train: 1 of 100 tokens (1%)",
        "train: 100 of 100 tokens (100%)",
    ]


def test_without_a_total_only_the_count_is_said() -> None:
    lines: list[str] = []
    LineView(lines.append).show(Progress(stage="count corpus", done=5, unit="rows"))
    assert lines == ["count corpus: 5 rows"]


def test_bars_on_a_terminal_show_count_unit_and_figures() -> None:
    stream = io.StringIO()
    view = BarView(Console(file=stream, force_terminal=True, width=120, color_system=None))
    view.show(tick(50, figures={"bytes/token": 71.2}))
    view.show(Progress(stage="dump", message="a [bold] sentence"))
    view.close()
    shown = stream.getvalue()
    assert "50/100" in shown
    assert "71.2 bytes/token" in shown
    assert "a [bold] sentence" in shown


def test_a_share_is_a_percentage() -> None:
    assert figures_text({"loss": 2.5, "wait_share": 1.27e-05}) == "loss 2.5, wait 0.0%"
    assert figures_text({"wait_share": 0.3333}) == "wait 33.3%"


def test_spans_of_time_and_figures() -> None:
    assert [duration(s) for s in (4, 59, 61, 7800)] == ["4 s", "59 s", "1 min", "2 h 10 min"]
    assert figures_text({"tokens/s": 120_000.0, "step": 7, "loss": 0.01234}) == (
        "120,000 tokens/s, loss 0.0123"
    )
