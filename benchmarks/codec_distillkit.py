"""The other side of `benchmarks.codec`: arcee-ai/DistillKit's writer and reader, as they are.

Nothing of it is part of this project; the benchmark is given a checkout. A row is written as its
`sample_logits_vllm` does once it has tensors: compressed, made lists, queued for the Parquet writer
and its thread. A batch is read as its trainer does with packed data: a shuffled `datasets` table
behind torch's DataLoader, rows of lists stacked to tensors, and `OfflineSignalSource`, which
unpacks them into the ids and log-probabilities that the losses take.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.codec_errors import divergence
from benchmarks.codec_sample import CodecSample, count_tokens, dense

README = {
    "recommended, k=128": {"k": 128, "exact_k": 16, "polynomial_terms": [0, 1, 2, 3, 4, "sqrt"]},
    "the same at k=64": {"k": 64, "exact_k": 16, "polynomial_terms": [0, 1, 2, 3, 4, "sqrt"]},
    "budget, k=50": {"k": 50, "exact_k": 1, "polynomial_terms": [0, 1, "sqrt"]},
}
"""The configurations that its README recommends; the first one also narrower."""

_BATCH_ROWS = 8
_FILE_ROWS = 256


class DistillKit:
    """One configuration of it."""

    def __init__(self, folder: Path, sample: CodecSample, name: str, checkout: Path) -> None:
        if str(checkout) not in sys.path:
            sys.path.insert(0, str(checkout))
        from distillkit.compression import DistributionQuantizationConfig, LogprobCompressor
        from distillkit.signals import OfflineSignalSource

        size = sample.prepared.settings.tokenizer.head_size
        config = DistributionQuantizationConfig(
            d=size,
            exact_dtype="bfloat16",
            term_dtype="float32",
            residual_bins=[],
            delta_encoding=False,
            error_diffusion=False,
            **README[name],
        )
        self._out, self._cache = folder / f"theirs-{config.k}", folder / f"cache-{config.k}"
        self._compressor = LogprobCompressor(config=config)
        self._source = OfflineSignalSource(self._compressor, vocab_size=size)
        self._once, self._count = len(sample.once), count_tokens(sample.once)
        self._ids = [own.input_ids.tolist() for own, _ in sample.rows]
        entries = [dense(signals) for _, signals in sample.rows]
        self._exact = [logprobs[:, : config.k] for _, logprobs in entries]
        self._tensors = [
            (_first(ids, config.k), _first(logprobs.astype(np.float32), config.k))
            for ids, logprobs in entries
        ]
        self._table: Any = None

    def write(self) -> None:
        """What was captured, encoded, in files."""
        self._write(len(self._ids))

    def bytes_per_token(self) -> float:
        """Of the sample without its copies."""
        self._write(self._once)
        return sum(path.stat().st_size for path in self._out.glob("*.parquet")) / self._count

    def open(self) -> None:
        """Converts what `write` left as `datasets` does once; not timed."""
        from datasets import load_dataset

        files = sorted(str(path) for path in self._out.glob("*.parquet"))
        self._table = self._table or load_dataset(
            "parquet", data_files=files, split="train", cache_dir=str(self._cache)
        )

    def read(self) -> int:
        """Positions of one shuffled epoch."""
        loader = torch.utils.data.DataLoader(
            self._table.shuffle(seed=0), batch_size=_BATCH_ROWS, shuffle=True, collate_fn=_stacked
        )
        signals = (self._source.get_signal(batch).sparse_values for batch in loader)
        return sum(values.shape[0] * values.shape[1] for values in signals)

    def errors(self) -> npt.NDArray[np.float64]:
        """[P] KL of every position."""
        found = []
        for row, exact in zip(self._table.take(self._once), self._exact, strict=False):
            values = self._source.get_signal(_stacked([row])).sparse_values
            found.append(divergence(exact, values[0].double().numpy()))
        return np.concatenate(found)

    def _write(self, count: int) -> None:
        from distillkit.sample_common import StreamingParquetWriter, compressed_logit_schema

        shutil.rmtree(self._out, ignore_errors=True)
        schema = compressed_logit_schema()
        with StreamingParquetWriter(
            str(self._out), schema, _FILE_ROWS, queue_maxsize=2 * _FILE_ROWS
        ) as writer:
            for ids, tensors in zip(self._ids[:count], self._tensors, strict=False):
                packed = self._compressor.compress_from_sparse(*tensors)
                lists = {name: part.cpu().squeeze(0).tolist() for name, part in packed.items()}
                writer.write({"input_ids": ids, **lists})


def _first(values_PK: npt.NDArray[Any], k: int) -> torch.Tensor:
    """[1, P, k]."""
    return torch.from_numpy(np.ascontiguousarray(values_PK[:, :k]))[None]


def _stacked(rows: Sequence[dict[str, list[Any]]]) -> dict[str, torch.Tensor]:
    """Its collator for packed data: one tensor per column."""
    return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
