"""Dumps with hidden states, and what the losses on them must come to, document by document."""

import json
from pathlib import Path

import numpy as np
import torch

from stage2_student.batch import Batch
from stage2_student.hidden_matching import HiddenMatching, StatePlan, map_name
from stage2_student.hidden_terms import HiddenTerm
from tests.dumps import Dump, hidden_policy
from tests.stage2_student.trainings import make_dump

LAYERS = ("0", "2", "4", "last")
DEPTH = 4


def make_hidden_dump(path: Path, codec: str = "bf16", width: int = 32, **more) -> Dump:
    """With the states of four of a teacher's four layers; bf16 holds them as they are."""
    given = {"layers": LAYERS, "width": width, "hidden_depth": DEPTH}
    return make_dump(path, capture=hidden_policy(codec, **{**given, **more}))


def plan(*terms: HiddenTerm, **given) -> StatePlan:
    words = {
        "student_widths": dict.fromkeys(("0", "1", "2", "last"), 32),
        "stored_width": 32,
        "projection": None,
        "spreads": {},
        "seed": 0,
    }
    return StatePlan(terms=terms, **{**words, **given})


def student_states(model, ids: np.ndarray) -> dict[str, torch.Tensor]:
    """[L, D] by layer, from transformers' own list; its last entry is after the norm."""
    tokens = torch.from_numpy(ids.astype(np.int64))[None]
    found = model(tokens, output_hidden_states=True).hidden_states
    return {**{str(n): s[0] for n, s in enumerate(found[:-1])}, "last": found[-1][0]}


def twin_sums(model, matching: HiddenMatching, dump: Dump, batch: Batch, twins) -> list[float]:
    """Every document alone, every position by itself, straight from the teacher's states."""
    sums = [torch.zeros((), dtype=torch.float64) for _ in matching.plan.terms]
    length = batch.input_ids.shape[1]
    for document in batch.documents:
        own = student_states(model, dump.samples[document.id].input_ids)
        for target in range(*document.targets):
            position = int(batch.targets.rows_N[target]) % length - document.start
            weight = float(batch.targets.weights_N[target])
            for number, term in enumerate(matching.plan.terms):
                for pair in term.pairs:
                    s = own[pair.student][position]
                    if term.projector == "linear":
                        s = matching.maps[map_name(pair)].weight @ s
                    t = dump.hidden[document.id][pair.teacher][position].astype(np.float64)
                    spread = matching.plan.spreads.get(pair.teacher, np.ones(len(t)))
                    loss = twins[term.loss](s, torch.from_numpy(t), torch.from_numpy(spread))
                    sums[number] = sums[number] + weight * loss / len(term.pairs)
    return sums


def log(out: str | Path) -> list[dict]:
    return [json.loads(line) for line in (Path(out) / "train_log.jsonl").read_text().splitlines()]
