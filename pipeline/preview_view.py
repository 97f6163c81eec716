"""What `potstill dump --preview` prints: prompts with the captured tokens coloured."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline.plain_text import visible, visible_lines
from stage1_teacher.preview import PreviewSample, PreviewSpan

_CAPTURED, _SPECIAL, _CONTEXT = "green", "magenta", "dim"


def preview_view(samples: Sequence[PreviewSample]) -> Group:
    """Every sample under a line of facts, and what the colours mean."""
    return Group(*_parts(samples))


def _parts(samples: Sequence[PreviewSample]) -> Iterator[RenderableType]:
    for sample in samples:
        yield Text(_facts(sample), style="bold")
        warning = _warning(sample)
        if warning:
            yield Text(warning, style="red")
        if sample.spans:
            yield Text.assemble(*((_text(span), _style(span)) for span in sample.spans))
        yield Text()
    yield Text.assemble(
        *(("captured", _CAPTURED), " · ", ("special token", _SPECIAL), " · "),
        ("seen, not captured", _CONTEXT),
    )


def _facts(sample: PreviewSample) -> str:
    facts = [visible(sample.id), visible(sample.where), visible(sample.source)]
    facts.append(f"{sample.tokens:,} tokens, {sample.positions:,} captured, BOS {sample.bos}")
    if sample.to_write:
        facts.append(f"then the teacher writes up to {sample.to_write:,} tokens")
    if sample.windows > 1:
        facts.append(f"window {sample.window + 1} of {sample.windows}")
    if sample.cut:
        facts.append("cut")
    return " · ".join(fact for fact in facts if fact)


def _warning(sample: PreviewSample) -> str:
    if sample.skipped:
        return f"skipped: {visible(sample.skipped)}"
    if sample.bos > 1:
        return f"{sample.bos} BOS tokens: the template and the corpus both write one"
    return ""


def _text(span: PreviewSpan) -> str:
    return visible_lines(span.text)


def _style(span: PreviewSpan) -> str:
    colour = _SPECIAL if span.special else _CAPTURED if span.captured else _CONTEXT
    return f"{colour} underline" if span.captured else colour
