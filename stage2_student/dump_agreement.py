"""Several dumps read as one, where teacher, tokenizer, capture policy and codec agree."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from schemas.codecs import rounding_of
from schemas.differences import differences
from schemas.dump_folder import DumpFolder
from schemas.errors import InputError, MismatchError
from schemas.manifest import Capture, Manifest, Teacher, Tokenizer

_BESIDE = {
    *("temperatures", "optional_columns"),
    *("hidden_layers", "hidden_codec", "hidden_width", "hidden_projection", "hidden_depth"),
}
"""Of the capture policy: what adds columns and does not change the others."""


class _Agreed(BaseModel):
    """The part of a manifest that must be the same."""

    teacher: Teacher
    tokenizer: Tokenizer
    capture: dict[str, Any]
    codec: str


def check_agreement(dumps: Sequence[DumpFolder]) -> None:
    """Checks that the dumps can be read as one.

    Raises:
        InputError: no dump, or the same one twice.
        MismatchError: two of them differ; shows every differing field with both values, or the
            tokenizers alone.
    """
    if not dumps:
        raise InputError("no dump was given: name at least one with --dump.")
    first = dumps[0]
    for other in dumps[1:]:
        _check_tokenizers(first, other)
        found = differences(_agreed(first.manifest), _agreed(other.manifest))
        if found:
            lines = "".join(f"\n  {line}" for line in found)
            raise MismatchError(
                f"{first.url} (here) and {other.url} (there) cannot be read as one:{lines}\n"
                "Train on one of them, or dump one again with the settings of the other."
            )
    _check_distinct(dumps)


def common_temperatures(dumps: Sequence[DumpFolder]) -> tuple[float, ...]:
    """The temperatures that all of the dumps hold, ascending."""
    grids = [set(dump.manifest.capture.temperatures) | {1.0} for dump in dumps]
    return tuple(sorted(set.intersection(*grids)))


def _check_tokenizers(first: DumpFolder, other: DumpFolder) -> None:
    """With other tokenizers the ids mean other tokens, and nothing else needs to be compared."""
    one, two = first.manifest, other.manifest
    if one.tokenizer.fingerprint == two.tokenizer.fingerprint:
        return
    lines = "".join(
        f"\n  {dump.url}: that of {dump.manifest.teacher.name}, "
        f"{dump.manifest.tokenizer.size:,} tokens, {dump.manifest.tokenizer.fingerprint}"
        for dump in (first, other)
    )
    raise MismatchError(
        f"these dumps have different tokenizers, so an id means one token here and another there:"
        f"{lines}\nA student has one tokenizer: train on the dumps of one of them, or dump the "
        "other corpus again with a teacher that has the same tokenizer."
    )


def _agreed(manifest: Manifest) -> _Agreed:
    return _Agreed(
        teacher=manifest.teacher,
        tokenizer=manifest.tokenizer,
        capture=manifest.capture.model_dump(mode="json", exclude=_capture_beside()),
        codec=rounding_of(manifest.codec),
    )


def _capture_beside() -> set[str]:
    return _BESIDE & set(Capture.model_fields)


def _check_distinct(dumps: Sequence[DumpFolder]) -> None:
    seen: dict[str, str] = {}
    for dump in dumps:
        twin = seen.setdefault(dump.manifest.identity, dump.url)
        if twin != dump.url:
            raise InputError(
                f"{dump.url} is the same dump as {twin} (identity {dump.manifest.identity}): its "
                "samples would be seen twice. Name it once."
            )
