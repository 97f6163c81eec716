"""Our writer, reader and codec beside DistillKit's own, on the same logits of a real teacher.

`codec_distillkit.py` and `codec_potstill.py` say what either side does. Both begin with the same
most probable entries of the same float32 logits in memory, write files to the disk, and read them
shuffled, eight sequences of 512 tokens at a time, into the tensors that their losses take.
CPU seconds of the process on one thread, in turns of which the first is for warming up; a ratio is
the median over the turns, a speed the best of them. `committed` is all of a unit of ours: range
checks, alignment self-test, hashes, fsync and record, too. The captured sequences are taken several
times over to make the turns longer; bytes are of one time. Run as

    python -m benchmarks.codec --teacher FOLDER --gsm8k FILE --distillkit CHECKOUT
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import torch

from benchmarks.codec_distillkit import README, DistillKit
from benchmarks.codec_potstill import Potstill
from benchmarks.codec_sample import captured_sample, count_tokens
from benchmarks.machine import write_result
from benchmarks.mixed_corpus import write_mixed_texts

PAIRS = {64: "the same at k=64", 128: "recommended, k=128"}
"""What of ours is compared with which of theirs."""
AIMS = {"written": 9.0, "read": 30.0}

Turns = dict[str, list[float]]


def main() -> None:
    """Measures both, prints a line each and writes results/codec.json."""
    options = _options()
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "mixed.jsonl"
        write_mixed_texts(corpus, options.gsm8k, options.characters)
        sample = captured_sample(str(options.teacher), corpus, options.tokens)
        checkout = options.distillkit.resolve()
        theirs = {name: DistillKit(folder, sample, name, checkout) for name in README}
        ours = {k: Potstill(folder, sample, k) for k in PAIRS}
        result = measure(theirs, ours, count_tokens(sample.rows), options.turns)
    about = {
        "tokens": count_tokens(sample.once),
        "timed_tokens": count_tokens(sample.rows),
        "distillkit": options.revision,
        "dtype": "float32",
    }
    _print(result)
    print("written:", write_result("codec", {**about, **result}))


def measure(
    theirs: dict[str, DistillKit], ours: dict[int, Potstill], tokens: int, turns: int
) -> dict[str, Any]:
    """Figures of every contender, and ratios of the pairs."""
    sides: dict[str, DistillKit | Potstill] = {
        **{f"DistillKit: {name}": side for name, side in theirs.items()},
        **{f"potstill: k={k}": side for k, side in ours.items()},
    }
    sizes = {name: side.bytes_per_token() for name, side in sides.items()}
    timed: dict[str, Turns] = {name: {} for name in sides}
    for _ in range(turns + 1):
        for name, side in sides.items():
            _turn(side, timed[name])
    figures = {
        name: {**_figures(sizes[name], timed[name], tokens), **_errors(side)}
        for name, side in sides.items()
    }
    ratios = {
        f"k={k}": _ratios(f"potstill: k={k}", f"DistillKit: {name}", timed, sizes)
        for k, name in PAIRS.items()
    }
    return {"figures": figures, "ratios": ratios, "aims": AIMS}


def _turn(side: DistillKit | Potstill, turns: Turns) -> None:
    _clock(turns, "written", side.write)
    if isinstance(side, Potstill):
        _clock(turns, "committed", side.commit)
    side.open()
    _clock(turns, "read", side.read)


def _clock(turns: Turns, what: str, work: Callable[[], object]) -> None:
    started = time.process_time()
    work()
    turns.setdefault(what, []).append(time.process_time() - started)


def _figures(size: float, turns: Turns, tokens: int) -> dict[str, float]:
    best = {what: min(seconds[1:]) for what, seconds in turns.items()}
    speeds = {f"{what}_ktokens_per_second": tokens / t / 1e3 for what, t in best.items()}
    return {"bytes_per_token": size, **speeds}


def _errors(side: DistillKit | Potstill) -> dict[str, float]:
    errors = side.errors()
    return {"kl_mean": float(errors.mean()), "kl_max": float(errors.max())}


def _ratios(
    own: str, other: str, timed: dict[str, Turns], sizes: dict[str, float]
) -> dict[str, float]:
    times = {
        f"{what}, times as fast": median(
            b / a for a, b in zip(timed[own][what][1:], timed[other][what][1:], strict=True)
        )
        for what in AIMS
    }
    return {**times, "bytes, ours over theirs": sizes[own] / sizes[other]}


def _print(result: dict[str, Any]) -> None:
    for name, figures in result["figures"].items():
        print(f"{name:<32}", {key: f"{value:.4g}" for key, value in figures.items()})
    for name, ratios in result["ratios"].items():
        print(f"{name:<32}", {key: f"{value:.2f}" for key, value in ratios.items()})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", required=True, type=Path)
    parser.add_argument("--gsm8k", required=True, type=Path, help="gsm8k_train.jsonl")
    parser.add_argument("--distillkit", required=True, type=Path, help="a checkout of its source")
    parser.add_argument("--revision", default="", help="of that checkout, for the record")
    parser.add_argument("--characters", type=int, default=20_000, help="of each kind of text")
    parser.add_argument("--tokens", type=int, default=100_000, help="of the sample and its copies")
    parser.add_argument("--turns", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
