"""An lm-eval task of word problems that no quickstart dump contains."""

import json
from pathlib import Path

import yaml

NAME = "potstill_problems"
_SEED = 1_000_003
"""Not the corpus's seed: these problems were never seen by any quickstart student."""
_PROBLEMS = 40

TASK = {
    "task": NAME,
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{gold}}",
    "generation_kwargs": {"until": ["<|im_end|>"], "max_gen_toks": 160, "do_sample": False},
    "filter_list": [
        {
            "name": "answer",
            "filter": [
                {"function": "regex", "regex_pattern": r"answer is\D{0,3}(-?\d+)"},
                {"function": "take_first"},
            ],
        }
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}


def write_tasks(folder: Path) -> Path:
    """Writes the task and its rows for `lm_eval --include_path`, and gives the folder back."""
    from pipeline.quickstart_corpus import problems

    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "problems.jsonl"
    lines = [
        json.dumps({"question": p.question, "gold": p.gold}) for p in problems(_PROBLEMS, _SEED)
    ]
    rows.write_text("\n".join(lines) + "\n")
    task = {**TASK, "dataset_kwargs": {"data_files": {"test": str(rows.resolve())}}}
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    return folder
