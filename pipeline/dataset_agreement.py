"""Which dumps can become one: the same teacher, tokenizer, capture policy and codec."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from schemas.codecs import rounding_of
from schemas.differences import differences
from schemas.dump_folder import DumpFolder
from schemas.errors import InputError, MismatchError
from schemas.manifest import Capture, Manifest, Tokenizer

_TERMS = {"license", "output_terms"}
"""Of the teacher: the joint conditions are computed."""

_HIDDEN = {name for name in Capture.model_fields if name.startswith("hidden_")}
_COLUMNS = {"temperatures", "optional_columns"}
"""Of the capture policy: what adds columns; those that all have are kept."""


class _Agreed(BaseModel):
    """The part of a manifest that must be the same."""

    teacher: dict[str, Any]
    tokenizer: Tokenizer
    capture: dict[str, Any]
    codec: str


def check_mergeable(dumps: Sequence[DumpFolder], hidden: bool) -> None:
    """Checks that the dumps can become one.

    Args:
        dumps: at least one.
        hidden: whether their hidden states are kept, which must then be alike.

    Raises:
        InputError: fewer than two dumps, or one of them twice.
        MismatchError: two of them differ; shows every differing field with both values.
    """
    if len(dumps) < 2:
        raise InputError(
            f"a merge needs two dumps or more; found {len(dumps)}. Name them one after the other: "
            "potstill dataset merge A B --out C."
        )
    seen: dict[str, str] = {}
    for dump in dumps:
        twin = seen.setdefault(dump.manifest.identity, dump.url)
        if twin != dump.url:
            raise InputError(
                f"{dump.url} is the same dump as {twin} (identity {dump.manifest.identity}). Name "
                "it once."
            )
    first = dumps[0]
    for other in dumps[1:]:
        lines = differences(_agreed(first.manifest, hidden), _agreed(other.manifest, hidden))
        if lines:
            raise MismatchError(
                f"{first.url} (here) and {other.url} (there) cannot be merged:"
                + "".join(f"\n  {line}" for line in lines)
                + f"\n{_advice(lines)}"
            )


def _agreed(manifest: Manifest, hidden: bool) -> _Agreed:
    left_out = _COLUMNS if hidden else _COLUMNS | _HIDDEN
    return _Agreed(
        teacher=manifest.teacher.model_dump(mode="json", exclude=_TERMS),
        tokenizer=manifest.tokenizer,
        capture=manifest.capture.model_dump(mode="json", exclude=left_out),
        codec=rounding_of(manifest.codec),
    )


def _advice(lines: Sequence[str]) -> str:
    fields = [line.partition(":")[0] for line in lines]
    if all(field.startswith("capture.hidden") for field in fields):
        return "Leave their hidden states out with --no-hidden."
    if all(
        field in ("capture.min_prob", "capture.top_k", "capture.tail_samples") for field in fields
    ):
        return (
            "Give both the smaller policy first: `potstill dataset reencode` with --min-prob, "
            "--top-k or --tail-samples."
        )
    return "Only dumps of the same teacher, tokenizer and policy become one; keep them apart."
