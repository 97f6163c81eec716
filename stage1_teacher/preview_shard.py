"""The readable part of a dump: up to a thousand rows for people and for the Hub's viewer.

Full rows are of no use to a person, and a viewer's page of them would be hundreds of megabytes. So
every row is shown as text, with the first captured tokens spelled out beside the teacher's five
best guesses.

Shapes: P captured positions of a few rows, E their kept entries.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import layout
from schemas.dump_search import locate
from schemas.manifest import Capture, Settings, Shard
from schemas.row_group import NestedLists, RowGroup, nested_column

NAME = f"{layout.PREVIEW}/preview.parquet"
MOST_ROWS = 1000
_ROWS_AT_ONCE = 8
_MOST_TOKENS = 64
_MOST_CHARACTERS = 4000
_GUESSES = 5

_TOKEN = pa.struct(
    [
        ("token", pa.string()),
        ("probability", pa.float32()),
        ("entropy", pa.float32()),
        ("top5", pa.list_(pa.string())),
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("text", pa.string()),
        ("length", pa.int32()),
        ("captured_positions", pa.int32()),
        ("mean_entropy", pa.float32()),
        ("perplexity", pa.float32()),
        ("mean_tail_mass", pa.float32()),
        ("tokens", pa.list_(_TOKEN)),
    ]
)

Floats = npt.NDArray[np.float64]


class Decoder(Protocol):
    """The part of a tokenizer that turns ids into text."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of some token ids."""
        ...


def has_preview(settings: Settings) -> bool:
    """Whether a dump may hold readable text."""
    return settings.privacy is None or settings.privacy.text


def preview_parquet(
    url: str | Path,
    shards: Sequence[Shard],
    capture: Capture,
    decoder: Decoder,
    most: int = MOST_ROWS,
) -> bytes:
    """The file preview/preview.parquet of a dump at `url` whose units are all committed."""
    quoted = cache(partial(_quoted, decoder))
    rows = [
        row
        for table in _tables(url, shards, most)
        for row in _readable(table, capture, decoder, quoted)
    ]
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, sink, compression="zstd", store_schema=False, row_group_size=100)
    return sink.getvalue()


def _tables(url: str | Path, shards: Sequence[Shard], most: int) -> Iterator[pa.Table]:
    """The first rows of shards spread evenly over the dump."""
    filesystem, root = locate(str(url))
    chosen = shards[:: max(1, len(shards) // most)][:most]
    for shard, share in zip(chosen, _shares([s.rows for s in chosen], most), strict=True):
        with filesystem.open(f"{root}/{layout.DATA}/{shard.name}", "rb") as file:
            yield from _first_rows(file, share)


def _shares(rows: Sequence[int], most: int) -> list[int]:
    """How many rows to take of each: as even as their sizes allow, `most` in all."""
    shares, left = [0] * len(rows), most
    for done, index in enumerate(sorted(range(len(rows)), key=rows.__getitem__)):
        shares[index] = min(rows[index], -(-left // (len(rows) - done)))
        left -= shares[index]
    return shares


def _first_rows(opened: BinaryIO, count: int) -> Iterator[pa.Table]:
    """A few at a time: all that is computed of them takes several times their memory."""
    with pq.ParquetFile(opened, page_checksum_verification=True) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            if count <= 0:
                return
            yield pa.Table.from_batches([batch.slice(0, count)])
            count -= batch.num_rows


def _readable(
    table: pa.Table, capture: Capture, decoder: Decoder, quoted: Callable[[int], str]
) -> Iterator[dict[str, Any]]:
    group = RowGroup.of(table)
    logprobs_e = _logprobs(group)
    entropy_p = _entropies(group, nested_column(table, "tail_logits"), logprobs_e, capture)
    tokens = np.split(group.tokens.values, group.tokens.offsets[1:-1])
    spans = pairwise(group.positions.offsets.tolist())
    names, sources = table["id"].to_pylist(), table["source"].to_pylist()
    for name, source, ids, (start, end) in zip(names, sources, tokens, spans, strict=True):
        shown = range(start, min(end, start + _MOST_TOKENS))
        yield {
            "id": name,
            "source": source,
            "text": decoder.decode(ids.tolist(), skip_special_tokens=False)[:_MOST_CHARACTERS],
            "length": len(ids),
            "captured_positions": end - start,
            "mean_entropy": _mean(entropy_p[start:end]),
            "perplexity": float(np.exp(-_mean(group.token_logprobs.values[start:end]))),
            "mean_tail_mass": _mean(np.exp(group.tail_logmass.values[start:end])),
            "tokens": [
                {
                    "token": quoted(int(ids[group.positions.values[p] + 1])),
                    "probability": float(np.exp(group.token_logprobs.values[p])),
                    "entropy": entropy_p[p],
                    "top5": _guesses(group, logprobs_e, p, quoted),
                }
                for p in shown
            ],
        }


def _logprobs(group: RowGroup) -> Floats:
    """[E] log-probabilities of the kept entries: the decoding rule of FORMAT.md."""
    logits_e, inner = group.topk_logits.values.astype(np.float64), group.topk_logits.inner
    kept_p = np.log1p(-np.exp(np.minimum(group.tail_logmass.values.astype(np.float64), -1e-12)))
    sum_p = np.add.reduceat(np.exp(logits_e), inner[:-1])
    result: Floats = logits_e + np.repeat(kept_p - np.log(sum_p), np.diff(inner))
    return result


def _entropies(group: RowGroup, drawn: NestedLists, logprobs_e: Floats, capture: Capture) -> Floats:
    """[P] −Σ p log p in nats: exact over the kept entries, the rest by the tail sample.

    A draw weighs 1/S, which makes the estimate unbiased; without a tail sample the rest counts as
    one outcome.
    """
    first_p = group.topk_logits.inner[:-1]
    entropy_p = -np.add.reduceat(np.exp(logprobs_e) * logprobs_e, first_p)
    if capture.tail_samples == 0:
        tail_p = group.tail_logmass.values.astype(np.float64)
        rest_p: Floats = -np.exp(tail_p) * tail_p
    else:
        gap_p = logprobs_e[first_p] - group.topk_logits.values[first_p]
        owner = np.repeat(np.arange(len(first_p)), np.diff(drawn.inner))
        drawn_logprobs = drawn.values + gap_p[owner]
        rest_p = -np.bincount(owner, drawn_logprobs, len(first_p)) / capture.tail_samples
    return entropy_p + rest_p


def _mean(values: Floats) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else 0.0


def _guesses(
    group: RowGroup, logprobs_e: Floats, position: int, quoted: Callable[[int], str]
) -> list[str]:
    start, end = group.topk_ids.inner[position : position + 2].tolist()
    best = slice(start, min(end, start + _GUESSES))
    pairs = zip(group.topk_ids.values[best].tolist(), np.exp(logprobs_e[best]), strict=True)
    return [f"{quoted(token)} {probability:.3f}" for token, probability in pairs]


def _quoted(decoder: Decoder, token: int) -> str:
    """A token in quotes, so that blanks and line ends are seen."""
    return json.dumps(decoder.decode([token], skip_special_tokens=False), ensure_ascii=False)
