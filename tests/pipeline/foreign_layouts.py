"""Writes the layouts of other systems as they document them, from known dense logits."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

VOCABULARY = 96
K = 24


class Truth:
    """Rows of tokens with the log-probabilities [L, V] after each of them; tokens are likely."""

    def __init__(self, count: int = 6, seed: int = 0, length: int = 30, fixed: bool = False):
        rng = np.random.default_rng(seed)
        self.tokens, self.logprobs = [], []
        for _ in range(count):
            size = length if fixed else int(rng.integers(12, length))
            logits = rng.standard_normal((size, VOCABULARY)) * 3
            tokens = np.concatenate([[1], rng.integers(2, VOCABULARY, size - 1)])
            logits[np.arange(size - 1), tokens[1:]] += 6
            self.tokens.append(tokens)
            self.logprobs.append(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))

    def top(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """[L−1, K] ids and log-probabilities, most probable first."""
        logprobs = self.logprobs[row][:-1]
        ids = np.argsort(-logprobs, axis=-1)[:, :K]
        return ids, np.take_along_axis(logprobs, ids, -1)


def pack(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers [P, N] as bytes, most significant bit first, filled up with zeros."""
    each = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(each.reshape(len(values), -1).astype(np.uint8), axis=1)


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Truncated to the upper two bytes, as bytes [P, 2·N]."""
    bits = np.ascontiguousarray(values, "<f4").view(np.uint32)
    return (bits >> 16).astype("<u2").view(np.uint8).reshape(len(values), -1)


def distillkit(folder: Path, truth: Truth, tokens=None, **config) -> Path:
    """16 exact values in bfloat16, a polynomial for the rest, its residuals in 8 bits."""
    settings = {
        "d": VOCABULARY,
        "k": K,
        "exact_k": 16,
        "exact_dtype": "bfloat16",
        "polynomial_terms": [0, 1, "sqrt"],
        "term_dtype": "float32",
        "residual_bins": [{"scale_dtype": "float32", "element_bits": 8, "num_elements": 8}],
        "delta_encoding": False,
        "error_diffusion": False,
        **config,
    }
    folder.mkdir()
    (folder / "compression_config.yaml").write_text(json.dumps(settings))
    x = np.arange(8.0)
    terms = np.stack([x**0, x, np.sqrt(x)], 1)
    rows = []
    for row, own in enumerate(truth.tokens):
        ids, logprobs = truth.top(row)
        exact, rest = logprobs[:, :16], logprobs[:, 16:]
        fitted = (np.linalg.pinv(terms) @ rest.T).T.astype("<f4", order="C")
        left = rest - fitted @ terms.T
        scale = np.maximum(np.abs(left).max(1, keepdims=True) / 128, 1e-9).astype("<f4")
        codes = np.clip(np.rint(left / scale), -128, 127).astype(np.int64) + 128
        parts = [bfloat16(exact), fitted.view(np.uint8), scale.view(np.uint8), pack(codes, 8)]
        rows.append(
            {
                "input_ids": (own if tokens is None else tokens[row]).tolist(),
                "compressed_logprobs": np.concatenate(parts, 1).tolist(),
                "bytepacked_indices": pack(ids, 7).tolist(),
            }
        )
    octets = pa.list_(pa.list_(pa.uint8()))
    kinds = [("input_ids", pa.list_(pa.uint64()))]
    schema = pa.schema([*kinds, ("compressed_logprobs", octets), ("bytepacked_indices", octets)])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "data_0.parquet")
    return folder


def axolotl(path: Path, truth: Truth, shift: int = 0) -> Path:
    """Tokenised rows; row i speaks of token i. A `shift` makes the usual mistake."""
    rows = []
    for row, tokens in enumerate(truth.tokens):
        ids, logprobs = truth.top(row)
        width, blank = len(tokens), np.zeros((1, K), np.int64)
        ids, logprobs = np.concatenate([blank, ids]), np.concatenate([blank - 1e9, logprobs])
        if shift:
            ids, logprobs = np.roll(ids, shift, 0), np.roll(logprobs, shift, 0)
        rows.append(
            {
                "input_ids": tokens.tolist(),
                "labels": tokens.tolist(),
                "target_token_ids": ids.tolist(),
                "target_logprobs": logprobs.tolist(),
                "target_mask": [[int(i > 0)] * K for i in range(width)],
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def axolotl_raw(path: Path, truth: Truth) -> Path:
    """vLLM's `token_id:…` entries for the last tokens only."""
    rows = []
    for row, tokens in enumerate(truth.tokens):
        ids, logprobs = truth.top(row)
        entries = [
            [{"token": f"token_id:{i}", "logprob": float(p)} for i, p in zip(*pair, strict=True)]
            for pair in zip(ids[5:], logprobs[5:], strict=True)
        ]
        rows.append({"input_ids": tokens.tolist(), "logprobs": entries})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def megatron(folder: Path, truth: Truth, ranks: int = 2) -> tuple[Path, Path]:
    """Iterations of one microbatch of one sample per rank; and the samples' tokens."""
    import torch
    import zstandard

    folder.mkdir()
    samples = len(truth.tokens)
    for rank in range(ranks):
        with tarfile.open(folder / f"cp0_dp{rank}__{samples // ranks}.tar", "w") as tar:
            add(tar, "_meta.json", json.dumps({"hash": "x"}).encode())
            for iteration, row in enumerate(range(rank, samples, ranks), 1):
                ids, logprobs = truth.top(row)
                low, high = torch.from_numpy(ids & 0xFFFF), torch.from_numpy(ids >> 16)
                content = {
                    "values": [torch.from_numpy(logprobs)[:, None].half()],
                    "indices_low": [low[:, None].to(torch.uint16)],
                    "bit_17": [high[:, None].bool()],
                }
                buffer = io.BytesIO()
                torch.save(content, buffer)
                packed = zstandard.ZstdCompressor().compress(buffer.getvalue())
                add(tar, f"{iteration}.pt.zst", packed)
    tokens = folder.parent / "tokens.npy"
    np.save(tokens, np.stack(truth.tokens).astype(np.int32))
    return folder, tokens


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
