"""What a dump weighs and how fast it is written, on a real teacher's signals of real text.

Two corpora, every position captured: mixed English (`mixed_corpus.py`) and GSM8K. Per policy: bytes
per token of everything in data/; of the same in the compact profile (`dataset reencode --compact`;
its table of ids, 4 bytes for each of the vocabulary, is not in data/); the codec's KL, temperature
1; and thousands of tokens written per second and core: rounding, Arrow tables and the Parquet file,
into memory, in process CPU time, best of the repeats. Run as

    python -m benchmarks.storage --teacher FOLDER --gsm8k FILE
"""

import argparse
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.codec_errors import rounding_error
from benchmarks.machine import write_result
from benchmarks.mixed_corpus import write_mixed_corpus
from benchmarks.storage_policies import POLICIES, PolicyRows, StoredSample, policy_rows
from pipeline.dataset_reencode import reencode
from pipeline.dataset_settings import ReencodeSettings
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.dump_folder import DumpFolder, open_dump
from schemas.shards import write_shard
from stage1_teacher.commit import open_work
from stage1_teacher.settings import DumpSettings
from stage1_teacher.shard_tables import shard_table
from stage1_teacher.shard_writer import Recipe, row_groups, write_unit

_HEADS = ("B/token", "aim", "compact", "saved", "ktok/s", "kept", "drawn", "KL mean", "KL max")


def main() -> None:
    """Writes every corpus by every policy; prints a line each and writes results/storage.json."""
    options = _options()
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    results = {}
    with tempfile.TemporaryDirectory() as name:
        for corpus, settings in _corpora(options, Path(name)).items():
            sample = StoredSample.captured(settings)
            print(f"{corpus}: {len(sample.samples)} sequences, {sample.tokens:,} tokens")
            print(f"{'policy':<30}" + "".join(f"{head:>9}" for head in _HEADS))
            policies = {}
            for policy in POLICIES:
                rows = policy_rows(sample, policy)
                folder = Path(name) / f"{corpus}-{policy}".replace("/", "-")
                policies[policy] = found = _measure(rows, folder, options.repeats)
                _print(policy, found)
            results[corpus] = {"tokens": sample.tokens, "policies": policies}
    about = {"teacher": options.teacher.name, "dtype": options.dtype}
    print("written:", write_result("storage", {**about, "corpora": results}))


def _corpora(options: argparse.Namespace, folder: Path) -> dict[str, DumpSettings]:
    mixed = folder / "mixed.jsonl"
    write_mixed_corpus(mixed, options.gsm8k, options.characters)
    common: dict[str, Any] = {
        "teacher": str(options.teacher),
        "out": "unused",
        "dtype": options.dtype,
        "license": "unknown",
        "max_length": 512,
        "batch_tokens": 2048,
        "capture_roles": ["system", "user", "assistant"],
    }
    columns = {"prompt_column": "question", "response_column": "answer", "limit": options.limit}
    return {
        "mixed English": DumpSettings(corpus=str(mixed), **common),
        "GSM8K": DumpSettings(corpus=str(options.gsm8k), **columns, **common),
    }


def _measure(rows: PolicyRows, folder: Path, repeats: int) -> dict[str, Any]:
    dump = _dump(rows, folder)
    plain = _size(dump)
    reencode(ReencodeSettings(dump=str(folder), out=f"{folder}-compact", compact=True))
    compact = _size(open_dump(f"{folder}-compact"))
    positions = sum(len(signals.token_logprobs) for _, signals in rows.rows)
    errors = np.concatenate([rounding_error(signals) for _, signals in rows.rows])
    return {
        "bytes_per_token": plain,
        "bytes_aim": rows.policy.bytes_aim,
        "compact_bytes_per_token": compact,
        "compact_saves": 1 - compact / plain,
        "ktokens_per_second": rows.tokens / min(_seconds(rows) for _ in range(repeats)) / 1e3,
        "kept_per_position": sum(len(s.topk.ids) for _, s in rows.rows) / positions,
        "drawn_per_position": sum(len(s.tail.ids) for _, s in rows.rows) / positions,
        "kl_mean": float(errors.mean()),
        "kl_max": float(errors.max()),
    }


def _dump(rows: PolicyRows, folder: Path) -> DumpFolder:
    """A whole dump of the rows, in one shard."""
    work = open_work(folder, rows.settings, [(0, len(rows.rows))], created_by="benchmarks/storage")
    for unit in work.units():
        with work.attempt(unit) as attempt:
            attempt.commit(write_unit(attempt, rows.rows, _recipe(rows)).counts())
    work.finalise()
    return open_dump(folder)


def _recipe(rows: PolicyRows) -> Recipe:
    capture = rows.settings.capture
    return Recipe(
        capture=capture,
        codec=CODECS[rows.settings.codec],
        columns=shard_columns(capture.temperatures),
        seed=0,
        hidden=None,
        batch_tokens=2048,
    )


def _size(dump: DumpFolder) -> float:
    shards = dump.manifest.shards
    return sum(shard.bytes for shard in shards) / sum(shard.tokens for shard in shards)


def _seconds(rows: PolicyRows) -> float:
    recipe = _recipe(rows)
    started = time.process_time()
    tables = (
        shard_table(group, recipe.columns, recipe.capture, recipe.codec)
        for group in row_groups(rows.rows)
    )
    write_shard(io.BytesIO(), tables, recipe.columns, {})
    return time.process_time() - started


def _print(policy: str, found: dict[str, Any]) -> None:
    aim = found["bytes_aim"]
    cells = (
        f"{found['bytes_per_token']:.1f}",
        f"{aim:.0f}" if aim else "",
        f"{found['compact_bytes_per_token']:.1f}",
        f"{found['compact_saves']:.1%}",
        f"{found['ktokens_per_second']:.0f}",
        f"{found['kept_per_position']:.1f}",
        f"{found['drawn_per_position']:.1f}",
        f"{found['kl_mean']:.1e}",
        f"{found['kl_max']:.1e}",
    )
    print(f"{policy:<30}" + "".join(f"{cell:>9}" for cell in cells))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", required=True, type=Path)
    parser.add_argument("--gsm8k", required=True, type=Path, help="gsm8k_train.jsonl")
    parser.add_argument("--characters", type=int, default=20_000, help="of each kind of text")
    parser.add_argument("--limit", type=int, default=40, help="rows of GSM8K")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
