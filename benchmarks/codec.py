"""Our writer, reader and codec beside DistillKit's own, on the same logits of a real teacher.

DistillKit's code is not part of this project: give a checkout of arcee-ai/DistillKit. Its
compressor, its Parquet writer, and the way its trainer reads (rows of `datasets`, lists to tensors,
decompressed) are called as they are. Ours: tables, rounding and Parquet; and the trainer's dense
packed batches. `written` is what both do: encode, make Parquet, write it. `committed` is all of a
unit of ours: range checks, alignment self-test, hashes, fsync and record, too. CPU seconds of the
process on one thread, the best of a few; capture is not counted, and what was captured is taken
several times over to make the sample longer (bytes are of one time). Run as

    python -m benchmarks.codec --teacher FOLDER --distillkit CHECKOUT

    KL   Σ kept p·(log p − log p̂) + the same for the rest as one outcome, per position; the rest of
         p̂ is what the decoded entries leave of one, at least 1e-9
"""

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.machine import write_result
from pipeline.quickstart_corpus import corpus_lines
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.dump_folder import open_dump
from schemas.manifest import Capture
from schemas.progress import ignore
from schemas.shards import write_shard
from stage1_teacher.commit import open_work
from stage1_teacher.preparation import Prepared, prepare
from stage1_teacher.samples import Ragged, Signals
from stage1_teacher.settings import DumpSettings
from stage1_teacher.shard_tables import Row, shard_table
from stage1_teacher.shard_writer import Recipe, row_groups, write_unit
from stage2_student.stream import StreamSettings, open_stream

WIDEST = 128
RECIPES: dict[str, dict[str, Any]] = {
    "recommended, k=128": {"k": 128, "exact_k": 16, "polynomial_terms": [0, 1, 2, 3, 4, "sqrt"]},
    "the same at k=64": {"k": 64, "exact_k": 16, "polynomial_terms": [0, 1, 2, 3, 4, "sqrt"]},
    "budget, k=50": {"k": 50, "exact_k": 1, "polynomial_terms": [0, 1, "sqrt"]},
}
"""The configurations that DistillKit's README recommends; the first one also narrower."""
OURS = (64, 128)
WINDOW = 512
REPEATS = 3


def main() -> None:
    """Measures both, prints a line each and writes results/codec.json."""
    options = _options()
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    sys.path.insert(0, str(options.distillkit.resolve()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared, captured = _captured(options, folder)
        rows = _copies(captured, options.tokens)
        tokens = _tokens(rows)
        found: dict[str, Any] = {}
        for recipe, config in RECIPES.items():
            found[f"DistillKit: {recipe}"] = _theirs(folder, (captured, rows), prepared, config)
        for k in OURS:
            found[f"potstill: k={k}"] = _ours(folder, (captured, rows), prepared, k)
    ratios = _ratios(found)
    for name, figures in found.items():
        print(f"{name:<32}", {k: round(v, 7) for k, v in figures.items()})
    for name, value in ratios.items():
        print(f"{name:<60} {value:8.2f}")
    about = {"tokens": tokens, "distillkit": options.revision, "dtype": "float32"}
    print("written:", write_result("codec", {**about, "figures": found, "ratios": ratios}))


def _ratios(found: dict[str, Any]) -> dict[str, float]:
    """Aims: written at least 9 times, read at least 30 times as fast at the same k."""
    ratios = {}
    for ours, theirs in (("k=64", "the same at k=64"), ("k=128", "recommended, k=128")):
        own, other = found[f"potstill: {ours}"], found[f"DistillKit: {theirs}"]
        for what in ("written_ktokens_per_second", "read_ktokens_per_second"):
            ratios[f"{ours}: {what.split('_')[0]}, ours over theirs"] = own[what] / other[what]
        ratios[f"{ours}: bytes, ours over theirs"] = (
            own["bytes_per_token"] / other["bytes_per_token"]
        )
    return {name: round(value, 3) for name, value in ratios.items()}


def _captured(options: argparse.Namespace, folder: Path) -> tuple[Prepared, list[Row]]:
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(islice(corpus_lines(), 0, None, options.every)), "utf-8")
    settings = DumpSettings(
        teacher=str(options.teacher),
        corpus=str(corpus),
        out=str(folder / "unused"),
        dtype="float32",
        license="unknown",
        max_length=WINDOW,
        limit=options.limit,
        capture_roles=["system", "user", "assistant"],
        batch_tokens=2048,
    )
    prepared = prepare(settings, ignore)
    samples = prepared.render(list(prepared.rows())).samples
    samples = [sample for sample in samples if len(sample.positions) == len(sample.input_ids) - 1]
    wide = Capture(min_prob=None, top_k=WIDEST, tail_samples=0, temperatures=[1.0])
    signals = dict(prepared.engine.capture(samples, wide, 0))
    return prepared, [(sample, signals[index]) for index, sample in enumerate(samples)]


def _copies(rows: list[Row], tokens: int) -> list[Row]:
    """The rows again and again; far enough apart that no page of a file holds one twice."""
    own = sum(len(sample.input_ids) for sample, _ in rows)
    return [
        (replace(sample, id=f"{sample.id}-{copy}"), signals)
        for copy in range(max(1, round(tokens / own)))
        for sample, signals in rows
    ]


def _dense(signals: Signals, k: int) -> tuple[np.ndarray, np.ndarray]:
    """[P, k] ids and exact log-probabilities."""
    topk = signals.topk
    ids, logits = topk.ids.reshape(-1, WIDEST), topk.logits.reshape(-1, WIDEST).astype(np.float64)
    sums = np.log(np.exp(logits).sum(1, keepdims=True))
    kept = np.log1p(-np.exp(signals.tail_logmass[:, :1].astype(np.float64)))
    return ids[:, :k], (logits - sums + kept)[:, :k]


def _narrowed(signals: Signals, k: int) -> Signals:
    """The same captured with fewer entries."""
    ids, logprobs = _dense(signals, k)
    tails = np.log(np.maximum(1 - np.exp(logprobs).sum(1), 1e-12))
    logits = signals.topk.logits.reshape(-1, WIDEST)[:, :k]
    offsets = np.arange(len(ids) + 1) * k
    topk = Ragged(offsets=offsets, ids=ids.ravel(), logits=np.ascontiguousarray(logits).ravel())
    return Signals(
        topk=topk,
        tail=signals.tail,
        tail_logmass=tails[:, None].astype(np.float32),
        max_logit=signals.max_logit,
        token_logprobs=signals.token_logprobs,
    )


def _kl(exact: np.ndarray, found: np.ndarray) -> np.ndarray:
    """[P]."""
    p = np.exp(exact)
    rest, left = 1 - p.sum(1), 1 - np.exp(found).sum(1)
    rest, left = np.maximum(rest, 1e-9), np.maximum(left, 1e-9)
    result: np.ndarray = (p * (exact - found)).sum(1) + rest * (np.log(rest) - np.log(left))
    return result


def _theirs(
    folder: Path, sample: tuple[list[Row], list[Row]], prepared: Prepared, recipe: dict[str, Any]
) -> dict[str, float]:
    from distillkit.compression import DistributionQuantizationConfig, LogprobCompressor
    from distillkit.sample_common import StreamingParquetWriter, compressed_logit_schema

    config = DistributionQuantizationConfig(
        d=prepared.settings.tokenizer.head_size,
        exact_dtype="bfloat16",
        term_dtype="float32",
        residual_bins=[],
        delta_encoding=False,
        error_diffusion=False,
        **recipe,
    )
    compressor = LogprobCompressor(config=config)
    once, rows = sample
    pairs = [_dense(signals, config.k) for _, signals in rows]
    out = folder / "theirs"

    def write(count: int = len(rows)) -> None:
        shutil.rmtree(out, ignore_errors=True)
        schema = compressed_logit_schema()
        with StreamingParquetWriter(str(out), schema, 256, queue_maxsize=512) as writer:
            for (own, _), (ids, logprobs) in zip(rows[:count], pairs[:count], strict=True):
                packed = compressor.compress_from_sparse(
                    torch.from_numpy(ids.astype(np.int64))[None],
                    torch.from_numpy(logprobs.astype(np.float32))[None],
                )
                writer.write(
                    {
                        "input_ids": own.input_ids.tolist(),
                        **{name: part.squeeze(0).tolist() for name, part in packed.items()},
                    }
                )

    write(len(once))
    size = sum(path.stat().st_size for path in out.glob("*.parquet")) / _tokens(once)
    written = _best(write)
    dataset = _loaded(out, folder / "cache")
    decoded: list[torch.Tensor] = []

    def read() -> None:
        decoded.clear()
        for row in dataset:
            batch = {name: torch.tensor([values]) for name, values in row.items()}
            decoded.append(compressor.decompress_to_sparse(batch)[1][0])

    seconds = _best(read)
    errors = np.concatenate(
        [
            _kl(exact, found.double().numpy())
            for (_, exact), found in zip(pairs, decoded, strict=True)
        ]
    )
    return _figures(_tokens(rows), size, (written, None), seconds, errors)


def _loaded(out: Path, cache: Path) -> Any:
    """As its trainer has it: a table of `datasets`, converted before the clock starts."""
    from datasets import load_dataset

    files = sorted(str(path) for path in out.glob("*.parquet"))
    shutil.rmtree(cache, ignore_errors=True)
    return load_dataset("parquet", data_files=files, split="train", cache_dir=str(cache))


def _ours(
    folder: Path, sample: tuple[list[Row], list[Row]], prepared: Prepared, k: int
) -> dict[str, float]:
    capture = Capture(min_prob=None, top_k=k, tail_samples=0, temperatures=[1.0])
    settings = prepared.settings.model_copy(update={"capture": capture})
    once, rows = sample
    narrow = [(own, _narrowed(signals, k)) for own, signals in rows]
    recipe = Recipe(
        capture=capture,
        codec=CODECS[settings.codec],
        columns=shard_columns(capture.temperatures),
        seed=0,
        hidden=None,
        batch_tokens=2048,
    )
    out = folder / "ours"

    def write(count: int = len(rows)) -> None:
        groups = row_groups(narrow[:count])
        tables = (shard_table(group, recipe.columns, capture, recipe.codec) for group in groups)
        with (folder / "ours.parquet").open("wb") as sink:
            write_shard(sink, tables, recipe.columns, {})

    def commit() -> None:
        shutil.rmtree(out, ignore_errors=True)
        work = open_work(out, settings, [(0, len(rows))], created_by="benchmarks/codec.py")
        for unit in work.units():
            with work.attempt(unit) as attempt:
                sums = write_unit(attempt, narrow, recipe)
                attempt.commit(sums.counts(skipped=0, truncated=0))
        work.finalise()

    write(len(once))
    size = (folder / "ours.parquet").stat().st_size / _tokens(once)
    written, committed = _best(write), _best(commit)
    dump = open_dump(out)
    stream = open_stream([dump], StreamSettings(rows_per_step=8, max_length=WINDOW))

    def read() -> None:
        for batch in stream.epoch_batches(0):
            len(batch.targets.rows_N)

    stream.plan(0)
    seconds = _best(read)
    errors = np.concatenate([_our_error(signals, k) for _, signals in narrow])
    return _figures(_tokens(rows), size, (written, committed), seconds, errors)


def _our_error(signals: Signals, k: int) -> np.ndarray:
    codec = CODECS["gap5"]
    decoded = []
    for logits, tails in (
        (signals.topk.logits, signals.tail_logmass),
        (codec.round_logits(signals.topk.logits), codec.round_logmass(signals.tail_logmass)),
    ):
        x, tail = logits.reshape(-1, k).astype(np.float64), tails[:, :1].astype(np.float64)
        sums = np.log(np.exp(x).sum(1, keepdims=True))
        decoded.append(x - sums + np.log1p(-np.exp(np.minimum(tail, -1e-12))))
    return _kl(*decoded)


def _figures(
    tokens: int,
    size: float,
    written: tuple[float, float | None],
    read: float,
    errors: np.ndarray,
) -> dict[str, float]:
    alone, committed = written
    found = {
        "bytes_per_token": size,
        "written_ktokens_per_second": tokens / alone / 1e3,
        "read_ktokens_per_second": tokens / read / 1e3,
        "kl_mean": float(errors.mean()),
        "kl_max": float(errors.max()),
    }
    if committed is not None:
        found["committed_ktokens_per_second"] = tokens / committed / 1e3
    return found


def _tokens(rows: list[Row]) -> int:
    return sum(len(sample.input_ids) for sample, _ in rows)


def _best(work: Any) -> float:
    """CPU seconds."""
    spent = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return min(spent)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", required=True, type=Path)
    parser.add_argument("--distillkit", required=True, type=Path, help="a checkout of its source")
    parser.add_argument("--revision", default="", help="of that checkout, for the record")
    parser.add_argument("--every", type=int, default=4, help="take every n-th row of the corpus")
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--tokens", type=int, default=100_000, help="of the sample and its copies")
    return parser.parse_args()


if __name__ == "__main__":
    main()
