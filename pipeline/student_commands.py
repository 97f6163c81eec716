"""What to do with a finished student: command lines that a test runs."""

import json
import shlex
from pathlib import Path


def chat(student: str | Path) -> str:
    """One question to the student, through transformers."""
    program = (
        "from transformers import pipeline; "
        f'chat = pipeline("text-generation", {json.dumps(str(student))}); '
        'ask = [{"role": "user", "content": "What is 17 plus 25?"}]; '
        'print(chat(ask, max_new_tokens=60)[0]["generated_text"][-1]["content"])'
    )
    return shlex.join(["python", "-c", program])


def serve(student: str | Path) -> str:
    """An OpenAI-compatible server."""
    return shlex.join(["vllm", "serve", str(student)])


def lm_eval(student: str | Path, tasks: str, *flags: str) -> str:
    """lm-eval on the CPU; `flags` such as --include_path for tasks of one's own."""
    model = ["--model", "hf", "--model_args", f"pretrained={student},dtype=float32"]
    return shlex.join(["lm_eval", "run", *model, *flags, "--tasks", tasks, "--device", "cpu"])
