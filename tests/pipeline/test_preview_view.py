from rich.console import Console

from pipeline.preview_view import preview_view
from stage1_teacher.preview import PreviewSample, PreviewSpan


def sample(**given: object) -> PreviewSample:
    spans = (
        PreviewSpan(text="<s>", kind="template", captured=False, special=True),
        PreviewSpan(text="Hi \x1b[31m\n", kind="prompt", captured=False, special=False),
        PreviewSpan(text="there", kind="response", captured=True, special=False),
    )
    fixed = {"id": "a", "where": "rows.jsonl, line 1", "source": "s", "spans": spans}
    counts = {"tokens": 9, "positions": 3, "bos": 1, "window": 0, "windows": 1, "cut": False}
    counts["to_write"] = 0
    return PreviewSample(**{**fixed, **counts, "skipped": "", **given})  # type: ignore[arg-type]


def shown(*samples: PreviewSample) -> str:
    console = Console(force_terminal=True, color_system="standard", width=100)
    with console.capture() as capture:
        console.print(preview_view(samples))
    return capture.get()


def test_captured_tokens_are_coloured_and_strangers_text_is_harmless() -> None:
    text = shown(sample())
    assert "\x1b[4;32mthere" in text
    assert "\x1b[35m<s>" in text
    assert r"Hi \x1b[31m" in text
    assert "9 tokens, 3 captured, BOS 1" in text
    assert "rows.jsonl, line 1" in text


def test_what_is_odd_about_a_row_is_said() -> None:
    text = shown(
        sample(bos=2),
        sample(spans=(), skipped="fewer than two tokens"),
        sample(window=1, windows=3, cut=True),
    )
    assert "2 BOS tokens" in text
    assert "skipped: fewer than two tokens" in text
    assert "window 2 of 3 · cut" in text
