"""Reads and writes datasets of axolotl's kd plug-in.

Tokenised rows have `input_ids`, `labels`, and per token `target_token_ids`, `target_logprobs` and
`target_mask`: row i speaks of token i itself (its trainer shifts), so it belongs to position i − 1.
Raw rows have `logprobs` for the last tokens of `input_ids`: lists of numbers beside
`target_token_ids`, or of `{"token": "token_id:12", "logprob": −0.3}`. Rows of messages without
`input_ids` are templated and tokenised when axolotl trains: they hold no tokens to import.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.foreign_files import ForeignFiles
from pipeline.foreign_rows import ABSENT, ForeignRow
from schemas.errors import InputError

Entries = list[tuple[list[int], list[float]]]


def read_axolotl(files: ForeignFiles) -> Iterator[ForeignRow]:
    """The rows, in order of files.

    Raises:
        InputError: a row has no tokens, or more distributions than tokens.
    """
    for name, index, values in files.rows():
        where = f"{name}-{index}"
        tokens = values.get("input_ids")
        if tokens is None:
            raise InputError(
                f"{where} has no `input_ids`: axolotl templates and tokenises such rows when it "
                "trains. Import the prepared dataset (axolotl preprocess), which has them."
            )
        entries = list(_entries(values))
        before = len(tokens) - len(entries)
        if before < 0:
            raise InputError(f"{where} has {len(entries)} distributions for {len(tokens)} tokens.")
        yield ForeignRow(
            id=str(values.get("id") or where),
            source=name,
            input_ids=np.asarray(tokens, np.int64),
            positions=np.arange(len(entries)) + before - 1,
            counts=np.asarray([len(ids) for ids, _ in entries], np.int64),
            ids=np.asarray([i for ids, _ in entries for i in ids], np.int64),
            logprobs=np.asarray([p for _, logprobs in entries for p in logprobs], np.float64),
        )


def _entries(values: Mapping[str, Any]) -> Iterator[tuple[list[int], list[float]]]:
    """Ids and log-probabilities, token by token."""
    logprobs = values.get("target_logprobs") or values.get("logprobs") or []
    ids = values.get("target_token_ids")
    if ids is None:
        for entries in logprobs:
            pairs = [(_token_id(e["token"]), e["logprob"]) for e in entries or []]
            yield [i for i, _ in pairs], [p for _, p in pairs]
        return
    masks = values.get("target_mask") or [[1] * len(row or []) for row in ids]
    for row, numbers, mask in zip(ids, logprobs, masks, strict=True):
        kept = [(i, p) for i, p, m in zip(row or [], numbers or [], mask, strict=True) if m]
        yield [i for i, _ in kept], [p if p is not None else 2 * ABSENT for _, p in kept]


def _token_id(text: str) -> int:
    return int(text.rpartition(":")[2])


def axolotl_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ours, as a dictionary, in the tokenised form; tokens without signals are masked.

    Log-probabilities are over the whole vocabulary, of the kept entries alone; axolotl
    renormalises.
    """
    length = len(row["input_ids"])
    positions = [p for span in row["captured"] for p in range(span["start"], span["end"])]
    width = max((len(ids) for ids in row["topk_ids"]), default=1)
    ids = [[0] * width for _ in range(length)]
    logprobs = [[-1e9] * width for _ in range(length)]
    masks = [[0] * width for _ in range(length)]
    labels = [-100] * length
    signals = zip(row["topk_ids"], row["topk_logits"], row["tail_logmass"], strict=True)
    for position, (kept, logits, tail) in zip(positions, signals, strict=True):
        at, count = position + 1, len(kept)
        x = np.asarray(logits, np.float64)
        p = x - np.log(np.exp(x).sum()) + np.log1p(-np.exp(np.float64(tail)))
        ids[at][:count] = [int(i) for i in kept]
        logprobs[at][:count] = [float(value) for value in p]
        masks[at][:count] = [1] * count
        labels[at] = int(row["input_ids"][at])
    return {
        "id": row["id"],
        "input_ids": [int(i) for i in row["input_ids"]],
        "attention_mask": [1] * length,
        "labels": labels,
        "target_token_ids": ids,
        "target_logprobs": logprobs,
        "target_mask": masks,
    }
