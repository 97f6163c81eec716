"""The readable part of a dump: up to a thousand rows for people and for the Hub's viewer.

Full rows are of no use to a person, and a viewer's page of them would be hundreds of megabytes. So
every row is shown as text, with the first captured tokens spelled out beside the teacher's five
best guesses.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import layout
from schemas.dump_search import locate
from schemas.manifest import Capture, Settings, Shard

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
    rows = [_readable(row, capture, decoder) for row in _rows(url, shards, most)]
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, sink, compression="zstd", store_schema=False, row_group_size=100)
    return sink.getvalue()


def _rows(url: str | Path, shards: Sequence[Shard], most: int) -> Iterator[dict[str, Any]]:
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


def _first_rows(opened: BinaryIO, count: int) -> Iterator[dict[str, Any]]:
    """A few at a time: as Python objects, rows take twenty times the memory."""
    with pq.ParquetFile(opened, page_checksum_verification=True) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            if count <= 0:
                return
            yield from batch.slice(0, count).to_pylist()
            count -= batch.num_rows


def _readable(row: dict[str, Any], capture: Capture, decoder: Decoder) -> dict[str, Any]:
    kept = [_logprobs(row, position) for position in range(len(row["topk_ids"]))]
    entropies = [
        _entropy(logprobs, row, position, capture.tail_samples)
        for position, logprobs in enumerate(kept)
    ]
    return {
        "id": row["id"],
        "source": row["source"],
        "text": decoder.decode(row["input_ids"], skip_special_tokens=False)[:_MOST_CHARACTERS],
        "length": len(row["input_ids"]),
        "captured_positions": len(kept),
        "mean_entropy": _mean(entropies),
        "perplexity": float(np.exp(-_mean(row["token_logprobs"]))),
        "mean_tail_mass": _mean(np.exp(row["tail_logmass"])),
        "tokens": list(_tokens(row, kept, entropies, decoder)),
    }


def _logprobs(row: dict[str, Any], position: int) -> Floats:
    """Log-probabilities of the kept entries at one position: the decoding rule of FORMAT.md."""
    logits = np.asarray(row["topk_logits"][position], np.float64)
    kept = np.log1p(-np.exp(min(row["tail_logmass"][position], -1e-12)))
    result: Floats = logits - np.log(np.exp(logits).sum()) + kept
    return result


def _entropy(logprobs: Floats, row: dict[str, Any], position: int, samples: int) -> float:
    """−Σ p log p in nats: exact over the kept entries, the rest by the tail sample.

    A draw weighs 1/S, which makes the estimate unbiased; without a tail sample the rest counts as
    one outcome.
    """
    entropy = -float(np.exp(logprobs) @ logprobs)
    if samples == 0:
        logmass: float = row["tail_logmass"][position]
        return entropy - float(np.exp(logmass)) * logmass
    gaps = np.asarray(row["tail_logits"][position], np.float64)
    drawn = gaps - row["topk_logits"][position][0] + logprobs[0]
    return entropy - float(drawn.sum()) / samples


def _mean(values: Iterable[float]) -> float:
    numbers = np.fromiter(values, np.float64)
    return float(numbers.mean()) if numbers.size else 0.0


def _tokens(
    row: dict[str, Any], kept: list[Floats], entropies: list[float], decoder: Decoder
) -> Iterator[dict[str, Any]]:
    positions = [p for span in row["captured"] for p in range(span["start"], span["end"])]
    for index, position in enumerate(positions[:_MOST_TOKENS]):
        guesses = zip(row["topk_ids"][index][:_GUESSES], np.exp(kept[index]), strict=False)
        yield {
            "token": _quoted(row["input_ids"][position + 1], decoder),
            "probability": float(np.exp(row["token_logprobs"][index])),
            "entropy": entropies[index],
            "top5": [f"{_quoted(token, decoder)} {p:.3f}" for token, p in guesses],
        }


def _quoted(token: int, decoder: Decoder) -> str:
    """A token in quotes, so that blanks and line ends are seen."""
    return json.dumps(decoder.decode([token], skip_special_tokens=False), ensure_ascii=False)
