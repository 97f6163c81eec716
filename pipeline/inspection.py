"""What is inside a dump, from its manifest; and one sample token by token."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.dump_tokenizer import dump_tokenizer
from schemas import layout
from schemas.columns import TEXTS
from schemas.dump_folder import DumpFolder
from schemas.errors import InputError
from schemas.licences import joint_conditions, stated_in
from schemas.value_ranges import check_values
from stage1_teacher.card import figures, hidden_sentence, policy_sentence, privacy_lines

ALTERNATIVES = 5
_SHOWN_IDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One entry that the teacher considered for a token's place."""

    id: int
    text: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token of a sample and what the teacher, having read what stands before, thought of it.

    Attributes:
        index: where it stands in the sequence; its signals are those of position index − 1.
        id: the token id.
        text: what it reads as.
        kind: the segment that it belongs to, or "".
        probability: what the teacher gave it; None where nothing was captured.
        tail_mass: the probability outside the kept entries.
        kept: how many entries are kept.
        alternatives: the most probable entries, at most ALTERNATIVES.
    """

    index: int
    id: int
    text: str
    kind: str
    probability: float | None = None
    tail_mass: float | None = None
    kept: int = 0
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleView:
    """One sample, readable; `texts` are its optional columns, such as `answer` and `verdict`."""

    id: str
    source: str
    shard: str
    tokens: tuple[Token, ...]
    texts: dict[str, str | bool | None]


def summary(dump: DumpFolder) -> dict[str, Any]:
    """A dump's facts and figures as plain values; of the shards only some ids are read."""
    manifest, found = dump.manifest, figures(list(dump.shards))
    counts = found.generation
    return {
        "url": dump.url,
        "identity": manifest.identity,
        "format_version": manifest.format_version,
        "created_by": manifest.created_by,
        "teacher": manifest.teacher.model_dump(),
        "engine": manifest.engine.model_dump(),
        "tokenizer": manifest.tokenizer.model_dump(),
        "corpus": manifest.corpus.model_dump(),
        "capture": manifest.capture.model_dump(),
        "policy": policy_sentence(manifest.capture),
        "hidden": hidden_sentence(manifest.capture),
        "limits": manifest.limits.model_dump(),
        "generation": manifest.generation.model_dump() if manifest.generation else None,
        "responses": counts.model_dump() if counts else None,
        "codec": manifest.codec,
        "shards": len(dump.shards),
        **{name: value for name, value in asdict(found).items() if name != "generation"},
        "alignment": manifest.alignment.model_dump(),
        "conditions": asdict(joint_conditions(stated_in(manifest))),
        "privacy": privacy_lines(manifest),
        "gold": dump.filesystem.exists(dump.join(layout.GOLD_INFO)),
        "first_ids": first_ids(dump),
    }


def first_ids(dump: DumpFolder) -> list[str]:
    """Ids of the first samples, to go on with."""
    filled = [shard for shard in dump.shards if shard.rows]
    if not filled:
        return []
    file = dump.shard_file(filled[0])
    with dump.reading(filled[0].name):
        ids: list[str] = file.read_row_group(0, columns=["id"])["id"].to_pylist()
    return ids[:_SHOWN_IDS]


def sample(dump: DumpFolder, wanted: str) -> SampleView:
    """One sample token by token.

    Raises:
        InputError: no sample has this id.
        DamagedError: a shard on the way to it is bad.
    """
    text = TokenText(dump)
    for shard in dump.shards:
        file = dump.shard_file(shard)
        with dump.reading(shard.name):
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["id"])["id"].to_pylist()
                if wanted in ids:
                    table = file.read_row_group(group)
                    check_values(table, dump.manifest, shard.name)
                    return _view(table, ids.index(wanted), shard.name, text)
    raise InputError(f"{dump.url} has no sample {wanted!r}. {_known_ids(dump)}")


def _known_ids(dump: DumpFolder) -> str:
    ids = first_ids(dump)
    return f"Its ids look like {', '.join(ids)}." if ids else "It is empty."


class TokenText:
    """Turns token ids into text with the dump's own tokenizer; nothing of it is executed."""

    def __init__(self, dump: DumpFolder) -> None:
        self._decoder = dump_tokenizer(dump)

    def __call__(self, token: int) -> str:
        """The token as it reads; a part of a character as the tokenizer spells it."""
        if self._decoder is None:
            return f"#{token}"
        text: str = self._decoder.decode([token], skip_special_tokens=False)
        spelled: str | None = self._decoder.id_to_token(token)
        return spelled or f"#{token}" if "\ufffd" in text or not text else text


def _view(table: pa.Table, index: int, shard: str, text: TokenText) -> SampleView:
    row = table.slice(index, 1).to_pylist()[0]
    return SampleView(
        id=row["id"],
        source=row["source"],
        shard=shard,
        tokens=tuple(_tokens(row, text)),
        texts={column: row[column] for column in TEXTS if column in row},
    )


def _tokens(row: dict[str, Any], text: TokenText) -> Iterator[Token]:
    captured = [p for span in row["captured"] for p in range(span["start"], span["end"])]
    signals = {position + 1: order for order, position in enumerate(captured)}
    for index, token in enumerate(row["input_ids"]):
        told = _signals(row, signals[index], text) if index in signals else {}
        yield Token(index=index, id=token, text=text(token), kind=_kind(row, index), **told)


def _kind(row: dict[str, Any], index: int) -> str:
    spans = row["segments"]
    return next((str(s["kind"]) for s in spans if s["start"] <= index < s["end"]), "")


def _signals(row: dict[str, Any], order: int, text: TokenText) -> dict[str, Any]:
    ids = row["topk_ids"][order]
    probabilities = kept_probabilities(row["topk_logits"][order], row["tail_logmass"][order])
    best = zip(ids, probabilities.tolist(), strict=True)
    return {
        "probability": float(np.exp(row["token_logprobs"][order])),
        "tail_mass": float(np.exp(row["tail_logmass"][order])),
        "kept": len(ids),
        "alternatives": tuple(
            Alternative(id=token, text=text(token), probability=p)
            for token, p in list(best)[:ALTERNATIVES]
        ),
    }


def kept_probabilities(logits: list[float], tail_logmass: float) -> npt.NDArray[np.float64]:
    """The decoding rule of FORMAT.md at temperature 1: softmax(logits) · (1 − exp(tail))."""
    weights = np.exp(np.asarray(logits, np.float64))
    result: npt.NDArray[np.float64] = weights / weights.sum() * -np.expm1(min(tail_logmass, 0.0))
    return result
