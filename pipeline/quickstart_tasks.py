"""An lm-eval task of word problems that no quickstart dump contains."""

import json
from pathlib import Path

import yaml

TASK = {
    "task": "potstill_problems",
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


def write_tasks(folder: Path, problems: list[dict[str, str]]) -> None:
    """Writes the task and its rows, `{"question": …, "gold": …}`, for `lm_eval --include_path`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "problems.jsonl"
    rows.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    task = {**TASK, "dataset_kwargs": {"data_files": {"test": str(rows.resolve())}}}
    (folder / "potstill_problems.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
