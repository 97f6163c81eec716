"""Whether the learning rate that a student gets by its size is near the best one.

Three students of one dump are trained with the default rate and with a third and the triple of it:

- `carved`: 6 of the teacher's 30 layers,
- `scratch`: random weights, the model of examples/scratch-model.yaml,
- `whole`: the carved one, trained with its default rate, and trained again as a whole checkpoint.

The figure is the KL to the teacher on held-out rows after the last step, lower is better. Run as

    python -m benchmarks.learning_rates --teacher FOLDER --dump DUMP

with the dump of a quickstart, say. Tells what a short training likes; a long one likes less.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import write_result
from stage2_student.run import train
from stage2_student.settings import TrainSettings
from stage2_student.training_figures import read_lines

FACTORS = (1 / 3, 1.0, 3.0)
KEPT = [0, 6, 12, 17, 23, 29]
MODEL = Path(__file__).parent.parent / "examples" / "scratch-model.yaml"


def main() -> None:
    """Measures, writes results/learning_rates.json and prints what was found."""
    options = _options()
    torch.set_num_threads(options.threads)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        carved = {"student": options.teacher, "student_layers": options.layers}
        starts: dict[str, dict[str, Any]] = {
            "carved": carved,
            "scratch": {"student_config": str(MODEL)},
            "whole": {"student": f"{folder}/carved-1", "seed": 1},
        }
        for name, start in starts.items():
            default = _trained(options, Path(folder) / f"{name}-1", start)
            for factor in FACTORS:
                out, rate = Path(folder) / f"{name}-{factor:g}", default["rate"] * factor
                measured = default
                if factor != 1:
                    measured = _trained(options, out, {**start, "learning_rate": rate})
                found[f"{name}, {factor:g} times"] = measured
                print(f"{name}, {factor:g} times: {measured}", flush=True)
    setting = {"steps": options.steps, "tokens_per_step": options.batch_size * options.max_length}
    write_result("learning_rates", {"setting": setting, "held_out_kl": found})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="SmolLM2-135M-Instruct folder")
    parser.add_argument("--dump", required=True, help="a dump by it")
    parser.add_argument("--layers", type=int, nargs="+", default=KEPT)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _trained(options: argparse.Namespace, out: Path, start: dict[str, Any]) -> dict[str, float]:
    """The peak rate of a training, and the held-out KL at its end; one that is there is read."""
    settings = TrainSettings(
        dump=[options.dump],
        out=str(out),
        steps=options.steps,
        batch_size=options.batch_size,
        max_length=options.max_length,
        holdout=0.1,
        eval_steps=options.steps,
        eval_rows=32,
        save_steps=0,
        log_steps=1,
        **start,
    )
    train(settings)
    lines = read_lines(out)
    return {
        "rate": max(line["learning_rate"] for line in lines),
        "kl": round(lines[-1]["held_out_kl"], 4),
    }


if __name__ == "__main__":
    main()
