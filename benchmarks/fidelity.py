"""How much of the teacher a dump keeps: the dump against a fresh pass of its teacher.

Two comparisons on the same rows, drawn evenly from the dump:

* codec: the signals as the engine gives them, against the same rounded. KL(exact ‖ stored) over the
  kept entries and the rest as one outcome. Aims: mean ≤ 1e-4, max ≤ 5e-4.
* dump: every stored entry against the full distribution of transformers' own fp32 forward. The most
  probable token equal on ≥ 99.9 % of positions; |Δ log p| of every kept entry within the codec's
  bound, max(1/64, gap/64) plus what rounding may move the normaliser. Only an fp32 dump can hold
  this: a bf16 one differs by the teacher's own noise.

Run as

    python -m benchmarks.fidelity --dump DUMP --teacher FOLDER --rows 64
"""

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.machine import write_result
from schemas.codecs import CODECS
from schemas.dump_folder import DumpFolder, open_dump
from stage1_teacher.engine import ENGINES, EngineSettings
from stage1_teacher.samples import Sample, Segment, Signals

Doubles = npt.NDArray[np.float64]
TAIL_SLACK = 5e-3  # half a step of the tail mass's grid, and fp32 sums


def main() -> None:
    """Makes both comparisons, prints them, writes results/fidelity.json."""
    options = _options()
    folder = open_dump(options.dump)
    rows = _rows(folder, options.rows)
    codec = codec_error(folder, rows, options.teacher)
    dump = dump_error(rows, options.teacher)
    whole = sum(shard.bytes for shard in folder.shards) / sum(s.tokens for s in folder.shards)
    settings = folder.manifest
    print(f"{len(rows)} rows, {dump['positions']:,} positions, {settings.teacher.dtype} dump")
    _line("bytes/token in data/", whole, 80)
    _line("codec KL mean", codec["mean"], 1e-4)
    _line("codec KL max", codec["max"], 5e-4)
    print(f"top-1 equal              {dump['top1']:10.5f}   aim ≥ 0.999")
    print(f"entries within the bound {dump['within']:10.7f}   aim 1 (fp32 dump)")
    print(f"|Δ log p| mean, max      {dump['mean']:10.2e} {dump['max']:.2e}")
    result = {"bytes_per_token": whole, "codec_kl": codec, "dump": dump}
    print("written:", write_result("fidelity", {"dtype": settings.teacher.dtype, **result}))


def _line(name: str, found: float, aim: float) -> None:
    print(f"{name:<24} {found:10.3g}   aim ≤ {aim:<8g} ratio {found / aim:.2f}")


def _rows(folder: DumpFolder, count: int) -> list[dict[str, Any]]:
    share = -(-count // len(folder.shards))
    rows: list[dict[str, Any]] = []
    for shard in folder.shards:
        with folder.shard_file(shard) as file:
            rows += file.read_row_group(0).slice(0, share).to_pylist()
    return rows[:count]


def codec_error(folder: DumpFolder, rows: list[dict[str, Any]], teacher: str) -> dict[str, float]:
    """KL(exact ‖ rounded) per position of the engine's signals, at temperature 1."""
    manifest = folder.manifest
    settings = EngineSettings(model=teacher, dtype=manifest.teacher.dtype, batch_tokens=2048)
    engine = ENGINES[manifest.engine.name](settings)
    samples = [_sample(row) for row in rows]
    found = [s for _, s in engine.capture(samples, manifest.capture, manifest.limits.seed)]
    errors = np.concatenate([_kl(signals, manifest.codec) for signals in found])
    return {"mean": float(errors.mean()), "max": float(errors.max())}


def _sample(row: dict[str, Any]) -> Sample:
    return Sample(
        id=row["id"],
        source=row["source"],
        input_ids=np.asarray(row["input_ids"], np.int32),
        segments=tuple(Segment(**segment) for segment in row["segments"]),
        captured=tuple((span["start"], span["end"]) for span in row["captured"]),
    )


def _kl(signals: Signals, codec_name: str) -> Doubles:
    """Σ p log(p/q) over the kept entries, plus the same for the rest as one outcome."""
    codec, starts = CODECS[codec_name], signals.topk.offsets[:-1]
    exact, tail = _decode(signals.topk.logits, signals.tail_logmass[:, 0], signals.topk.offsets)
    stored, stored_tail = _decode(
        codec.round_logits(signals.topk.logits),
        codec.round_logmass(signals.tail_logmass[:, 0]),
        signals.topk.offsets,
    )
    kept: Doubles = np.add.reduceat(np.exp(exact) * (exact - stored), starts)
    return kept + np.exp(tail) * (tail - stored_tail)


def _decode(
    logits: npt.NDArray[np.float32], tail: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64]
) -> tuple[Doubles, Doubles]:
    wide, mass = logits.astype(np.float64), np.minimum(tail.astype(np.float64), -1e-12)
    sums = np.log(np.add.reduceat(np.exp(wide), offsets[:-1])) - np.log1p(-np.exp(mass))
    return wide - np.repeat(sums, np.diff(offsets)), mass


@dataclass(slots=True)
class _Errors:
    positions: int = 0
    top1: int = 0
    entries: int = 0
    within: int = 0
    total: float = 0.0
    largest: float = 0.0

    def add(self, row: dict[str, Any], logprobs_LV: Doubles) -> None:
        """Compares one stored row with the exact log-probabilities of all its positions."""
        positions = [p for span in row["captured"] for p in range(span["start"], span["end"])]
        for index, position in enumerate(positions):
            exact = logprobs_LV[position]
            ids, stored, bounds = _stored(row, index)
            errors = np.abs(stored - exact[ids])
            self.positions += 1
            self.top1 += int(exact[ids[0]] >= exact.max())
            self.entries += len(ids)
            self.within += int((errors <= bounds).sum())
            self.total += float(errors.sum())
            self.largest = max(self.largest, float(errors.max()))


def _stored(row: dict[str, Any], index: int) -> tuple[npt.NDArray[np.int64], Doubles, Doubles]:
    logits = np.asarray(row["topk_logits"][index], np.float32)
    tail = np.asarray([row["tail_logmass"][index]], np.float32)
    stored, _ = _decode(logits, tail, np.asarray([0, len(logits)]))
    bounds = CODECS["gap5"].bound(logits).astype(np.float64)
    weights = np.exp(logits.astype(np.float64))
    drift = float((weights * bounds).sum() / weights.sum())
    return np.asarray(row["topk_ids"][index]), stored, bounds + drift + TAIL_SLACK


def dump_error(rows: list[dict[str, Any]], teacher: str) -> dict[str, float]:
    """Stored entries against transformers' fp32 forward, one sequence at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.float32).eval()
    errors = _Errors()
    for row in rows:
        with torch.inference_mode():
            logits_LV = model(torch.tensor([row["input_ids"]])).logits[0]
            errors.add(row, torch.log_softmax(logits_LV.double(), -1).numpy())
    return {
        "positions": errors.positions,
        "top1": errors.top1 / errors.positions,
        "within": errors.within / errors.entries,
        "mean": errors.total / errors.entries,
        "max": errors.largest,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dump", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--rows", type=int, default=64)
    return parser.parse_args()


if __name__ == "__main__":
    main()
