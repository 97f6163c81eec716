"""A dump's summary and one of its samples as people see them on a terminal."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.facts import alignment_text, facts, responses_text, set_aside_text
from pipeline.inspection import SampleView, Token
from pipeline.plain_text import visible
from pipeline.report_words import size
from pipeline.student_fit import Fit
from schemas.manifest import GenerationCounts

_VERDICTS: dict[object, str] = {True: "accepted", False: "rejected", None: "not known"}


def summary_view(found: dict[str, Any]) -> Table:
    """What `potstill inspect DUMP` shows."""
    teacher, corpus, tokenizer = found["teacher"], found["corpus"], found["tokenizer"]
    revision = f" at {teacher['revision']}" if teacher["revision"] else ""
    temperatures = ", ".join(f"{t:g}" for t in found["capture"]["temperatures"])
    rows = {
        "dump": found["url"],
        "identity": found["identity"],
        "teacher": f"{teacher['name']}{revision}: {teacher['architecture']}, "
        f"{teacher['parameters']:,} parameters, {teacher['dtype']}",
        "teacher's licence": _licence(teacher["license"], teacher["output_terms"]),
        "engine": f"{found['engine']['name']} {found['engine']['version']}",
        "tokenizer": f"{tokenizer['size']:,} tokens, output head {tokenizer['head_size']:,}; "
        f"{tokenizer['fingerprint']}",
        "corpus": f"{corpus['name']}: {corpus['rows']:,} rows, licence {corpus['license']}",
        "kept per position": f"{found['policy']}; {found['kept']:.1f} on average, tail mass "
        f"{found['tail_mass']:.4f}",
        "tail sample": f"{found['capture']['tail_samples']} draws per unit of probability; "
        f"{found['drawn']:.1f} on average",
        "temperatures": temperatures,
        "sequences": f"{found['rows']:,}",
        "tokens": f"{found['tokens']:,}, {found['positions']:,} of them with signals",
        "size": f"{found['bytes']:,} bytes in {found['shards']:,} shards, "
        f"{found['bytes_per_token']:.1f} bytes/token",
        "teacher's perplexity": f"{found['perplexity']:.2f}",
        "alignment": alignment_text(found["alignment"]),
        "codec": f"{found['codec']}: every stored logit within max(1/64, 1/64 of its distance to "
        "the largest) of the teacher's",
        "written by": found["created_by"],
    }
    conditions = found["conditions"]
    asked = [*conditions["demands"], *conditions["terms"], *conditions["conflicts"]]
    if asked:
        rows["licences ask for"] = "; ".join(asked)
    if found["privacy"]:
        rows["private data"] = "; ".join(found["privacy"])
    if found["gold"]:
        rows["gold sample"] = f"there; potstill verify {found['url']} --gold audits the dump by it"
    if found["generation"]:
        rows["written by the teacher"] = generation_text(found["generation"])
        rows["responses"] = responses_text(GenerationCounts(**found["responses"]))
    if found["hidden"]:
        per_token = found["hidden_bytes_per_token"]
        rows["hidden states"] = f"{found['hidden']}; {per_token:.1f} bytes/token more"
    if found["skipped"] or found["truncated"]:
        rows["rows"] = f"{found['skipped']:,} skipped, {found['truncated']:,} cut"
    if found["failed"]:
        rows["set aside"] = set_aside_text(found["failed"])
    return facts(rows)


_SIGNS = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("·", "dim")}


def fit_view(fit: Fit) -> Iterator[RenderableType]:
    """What `potstill inspect DUMP --for STUDENT` adds."""
    yield Text()
    yield Text(f"for {visible(fit.student)}", style="bold")
    for check in fit.checks:
        sign, style = _SIGNS[check.ok]
        yield Text(f"{sign} {check.what}: {visible(check.said)}", style=style)
    hidden = f", {size(fit.hidden_bytes)} more with hidden states" if fit.hidden_bytes else ""
    yield Text(f"· to stream: {size(fit.bytes_per_epoch)} a pass{hidden}", style="dim")
    yield Text(f"· its licence: {visible('; '.join(fit.licence))}", style="dim")
    verdict = "✓ it fits" if fit.ok else "✗ it does not fit"
    yield Text(verdict, style="bold green" if fit.ok else "bold red")


def generation_text(plan: dict[str, Any]) -> str:
    """How responses were written, in a line."""
    words = [f"{plan['samples']} per prompt", f"temperature {plan['temperature']:g}"]
    if plan["temperature"] and plan["top_p"] < 1:
        words.append(f"top-p {plan['top_p']:g}")
    words.append(f"at most {plan['max_tokens']:,} tokens")
    words += [f"{word} {plan[word]}" for word in ("template", "parser", "verifier") if plan[word]]
    return ", ".join(words)


def sample_view(view: SampleView) -> Group:
    """What `potstill inspect DUMP --id ID` shows: its texts, then a line per token."""
    return Group(*_texts(view), _tokens(view))


def _texts(view: SampleView) -> Iterator[RenderableType]:
    """What is known of a response besides its tokens, which follow."""
    shown = {
        name: _VERDICTS[value] if name == "verdict" else str(value)
        for name, value in view.texts.items()
        if name != "response" and value != ""
    }
    if shown:
        yield facts(shown)
        yield Text()


def _tokens(view: SampleView) -> Table:
    table = Table(
        *("", "token", "segment", "p", "tail", "what the teacher expected here"),
        title=Text(f"{visible(view.id)} · {visible(view.source)} · {visible(view.shard)}"),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for token in view.tokens:
        table.add_row(
            Text(str(token.index), style="dim"),
            Text(quoted(token.text), style=colour(token.probability)),
            Text(visible(token.kind), style="dim"),
            _share(token.probability),
            Text("" if token.tail_mass is None else f"{token.tail_mass:.3f}", style="dim"),
            _alternatives(token),
        )
    return table


def quoted(text: str) -> str:
    """A token so that its blanks and line ends are seen."""
    return f"‹{visible(text)}›"


def colour(probability: float | None) -> str:
    """From red (a surprise) to green (expected); dim where nothing was captured."""
    if probability is None:
        return "dim"
    steps = ((0.5, "green"), (0.1, "yellow"), (0.01, "dark_orange"), (0.0, "red"))
    return next(style for least, style in steps if probability >= least)


def _share(probability: float | None) -> Text:
    shown = "" if probability is None else f"{probability:.3f}"
    return Text(shown, style=colour(probability))


def _alternatives(token: Token) -> Text:
    line = Text()
    for other in token.alternatives:
        style = colour(other.probability) + (" bold underline" if other.id == token.id else "")
        line.append(quoted(other.text), style=style)
        line.append(f" {other.probability:.3f}  ", style="dim")
    return line


def _licence(name: str, terms: str | None) -> str:
    return f"{name}; terms of use of its outputs: {terms}" if terms else name
