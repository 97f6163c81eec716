"""What a dump weighs and how fast it is written, on a real teacher's signals of real text.

Per policy: bytes per token of a whole shard (ids, tail and footer included) and thousands of tokens
written per second and core: rounding, Arrow tables and the Parquet file, into memory, in process
CPU time, best of the repeats. Aims: facts measured with the same teacher on a mixed English corpus.
Run as

    python -m benchmarks.storage --teacher FOLDER --corpus FILE --limit 200
"""

import argparse
import io
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.machine import write_result
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.manifest import Capture
from schemas.progress import ignore
from schemas.shards import write_shard
from stage1_teacher.preparation import Prepared, prepare
from stage1_teacher.samples import Sample
from stage1_teacher.settings import DumpSettings
from stage1_teacher.shard_tables import Row, shard_table
from stage1_teacher.shard_writer import row_groups

# policy, aim in bytes per token, aim in thousands of tokens per second
POLICIES: dict[str, tuple[Capture, float, float | None]] = {
    "default": (Capture(), 80.0, None),
    "k=64": (Capture(min_prob=None, top_k=64, tail_samples=0), 131.0, 400.0),
    "k=128": (Capture(min_prob=None, top_k=128, tail_samples=0), 253.0, None),
    "p>=1/1024": (Capture(min_prob=1 / 1024, tail_samples=0), 77.0, None),
}


def main() -> None:
    """Captures once per policy, writes, prints a line each and results/storage.json."""
    options = _options()
    prepared = prepare(_settings(options), ignore)
    samples = _samples(prepared)
    tokens = sum(len(sample.input_ids) for sample in samples)
    print(f"{len(samples)} sequences, {tokens:,} tokens, {options.dtype}")
    heads = ("B/token", "of aim", "ktok/s", "of aim", "kept", "drawn")
    print(f"{'policy':<12}" + "".join(f"{head:>9}" for head in heads))
    results = {}
    for name, (capture, bytes_aim, speed_aim) in POLICIES.items():
        rows = _capture(prepared, samples, capture)
        found = _measure(rows, capture, options.repeats)
        results[name] = {**found, "bytes_aim": bytes_aim, "speed_aim": speed_aim}
        _print(name, results[name])
    about = {"sequences": len(samples), "tokens": tokens, "dtype": options.dtype}
    print("written:", write_result("storage", {**about, "policies": results}))


def _samples(prepared: Prepared) -> list[Sample]:
    return [
        sample for sample in prepared.render(list(prepared.rows())).samples if len(sample.positions)
    ]


def _capture(prepared: Prepared, samples: Sequence[Sample], capture: Capture) -> list[Row]:
    found = dict(prepared.engine.capture(samples, capture, 0))
    return [(sample, found[index]) for index, sample in enumerate(samples)]


def _measure(rows: list[Row], capture: Capture, repeats: int) -> dict[str, float]:
    tokens = sum(len(sample.input_ids) for sample, _ in rows)
    positions = sum(len(signals.token_logprobs) for _, signals in rows)
    size, seconds = 0, []
    for _ in range(repeats):
        start = time.process_time()
        size = _write(rows, capture)
        seconds.append(time.process_time() - start)
    return {
        "bytes_per_token": size / tokens,
        "ktokens_per_second": tokens / min(seconds) / 1e3,
        "kept_per_position": sum(len(s.topk.ids) for _, s in rows) / positions,
        "drawn_per_position": sum(len(s.tail.ids) for _, s in rows) / positions,
    }


def _write(rows: list[Row], capture: Capture) -> int:
    sink = io.BytesIO()
    columns = shard_columns(capture.temperatures)
    tables = (
        shard_table(group, columns, capture, CODECS["gap5"]) for group in row_groups(iter(rows))
    )
    write_shard(sink, tables, columns, {})
    return sink.tell()


def _print(name: str, found: dict[str, Any]) -> None:
    speed_aim = found["speed_aim"]
    cells = (
        f"{found['bytes_per_token']:.1f}",
        f"{found['bytes_per_token'] / found['bytes_aim']:.2f}",
        f"{found['ktokens_per_second']:.0f}",
        f"{found['ktokens_per_second'] / speed_aim:.2f}" if speed_aim else "",
        f"{found['kept_per_position']:.1f}",
        f"{found['drawn_per_position']:.1f}",
    )
    print(f"{name:<12}" + "".join(f"{cell:>9}" for cell in cells))


def _settings(options: argparse.Namespace) -> DumpSettings:
    return DumpSettings(
        license="unknown",
        teacher=options.teacher,
        corpus=options.corpus,
        out="unused",
        dtype=options.dtype,
        limit=options.limit,
        prompt_column=options.prompt_column,
        response_column=options.response_column,
        capture_roles=["system", "user", "assistant"],
        batch_tokens=2048,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--prompt-column")
    parser.add_argument("--response-column")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
