"""A dump is read by the tools that strangers have, with no import of ours.

Every program runs in a process of its own, in another folder, where our packages cannot be
imported; it decodes with the snippet that FORMAT.md prints, executed out of the page.
"""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from schemas.codec_hidden import INT8_BOUND
from schemas.manifest import Capture
from stage1_teacher.card import hidden_snippet
from tests.dumps import Dump, hidden_policy, write_dump
from tests.schemas.test_format_page import snippet

BLOCK = """
import sys

OURS = {"schemas", "stage1_teacher", "stage2_student", "pipeline", "potstill"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in OURS:
            raise ImportError(name + " is ours")

sys.meta_path.insert(0, Refuse())
"""

READERS = {
    "pyarrow": """
import pyarrow.parquet as pq
rows = pq.read_table(DUMP + "/data").to_pylist()
""",
    "pyarrow dataset": """
import pyarrow.dataset as ds
rows = ds.dataset(DUMP + "/data", format="parquet").to_table().to_pylist()
""",
    "pandas": """
import glob
import pandas
rows = pandas.concat(
    pandas.read_parquet(path) for path in sorted(glob.glob(DUMP + "/data/*.parquet"))
).to_dict("records")
""",
    "polars": """
import polars
rows = polars.read_parquet(DUMP + "/data/*.parquet").to_dicts()
""",
    "duckdb": """
import duckdb
found = duckdb.sql(f"SELECT * FROM '{DUMP}/data/*.parquet'")
rows = [dict(zip(found.columns, row)) for row in found.fetchall()]
""",
    "datasets": """
from datasets import load_dataset
rows = load_dataset("parquet", data_files=DUMP + "/data/*.parquet", split="train", cache_dir=CACHE)
""",
    "datasets streaming": """
from datasets import load_dataset
rows = load_dataset("parquet", data_files=DUMP + "/data/*.parquet", split="train", streaming=True)
""",
}

PRINT = """
import json
out = {}
for row in rows:
    spans = [[int(s["start"]), int(s["end"])] for s in row["captured"]]
    segments = [[s["kind"], int(s["start"]), int(s["end"])] for s in row["segments"]]
    out[row["id"]] = {
        "input_ids": [int(i) for i in row["input_ids"]],
        "captured": spans,
        "segments": segments,
        "token_logprobs": [float(x) for x in row["token_logprobs"]],
        "tail_ids": [[int(i) for i in ids] for ids in row["tail_ids"]],
        "positions": {
            str(t): [
                [[int(i) for i in ids], [float(x) for x in logprobs], float(tail)]
                for ids, logprobs, tail in decode(row, t)
            ]
            for t in (1, 2.0)
        },
    }
ours = [name for name in sys.modules if name.split(".")[0] in OURS]
print("RESULT" + json.dumps({"rows": out, "ours": ours}))
"""


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    capture = Capture(top_k=16, tail_samples=32)
    return write_dump(tmp_path_factory.mktemp("d") / "dump", count=16, capture=capture)


def read_as_a_stranger(reader: str, dump: Path, folder: Path) -> dict[str, dict]:
    return run_as_a_stranger(READERS[reader] + snippet() + PRINT, dump, folder)


def run_as_a_stranger(program: str, dump: Path, folder: Path) -> dict[str, dict]:
    names = f"DUMP, CACHE = {str(dump)!r}, {str(folder / 'cache')!r}\n"
    program = BLOCK + names + program
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.rpartition("RESULT")[2])
    assert result["ours"] == []
    return result["rows"]


@pytest.mark.parametrize("reader", READERS)
def test_a_stranger_finds_the_same_numbers(reader: str, dump: Dump, tmp_path: Path) -> None:
    rows = read_as_a_stranger(reader, dump.path, tmp_path)
    assert set(rows) == set(dump.samples)
    for name, sample in dump.samples.items():
        row = rows[name]
        assert row["input_ids"] == sample.input_ids.tolist()
        assert row["captured"] == [list(span) for span in sample.captured]
        assert row["segments"] == [[s.kind, s.start, s.end] for s in sample.segments]
        dense = dump.logits[name].astype(np.float64)[sample.positions]
        for text, temperature in (("1", 1.0), ("2.0", 2.0)):
            check_positions(row["positions"][text], dense / temperature)
        realised = log_softmax(dense)[np.arange(len(dense)), sample.input_ids[sample.positions + 1]]
        np.testing.assert_allclose(row["token_logprobs"], realised, atol=1e-5)


HIDDEN_READERS = {
    name: program.replace('"/data', '"/hidden').replace("{DUMP}/data", "{DUMP}/hidden")
    for name, program in READERS.items()
    if name != "pandas"  # it knows no lists of bytes of fixed width
}

PRINT_HIDDEN = """
import json
out = {}
for row in rows:
    out[row["id"]] = {n: decode_hidden(row, n, CODEC).tolist() for n in ("0", "2", "last")}
ours = [name for name in sys.modules if name.split(".")[0] in OURS]
print("RESULT" + json.dumps({"rows": out, "ours": ours}))
"""


@pytest.fixture(scope="module", params=["int8", "bf16"])
def hidden_dump(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dump:
    folder = tmp_path_factory.mktemp("hidden") / request.param
    return write_dump(folder, count=10, capture=hidden_policy(request.param))


@pytest.mark.parametrize("reader", HIDDEN_READERS)
def test_a_stranger_finds_the_same_hidden_states(
    reader: str, hidden_dump: Dump, tmp_path: Path
) -> None:
    codec = str(hidden_dump.manifest.capture.hidden_codec)
    program = hidden_snippet() + f"\nCODEC = {codec!r}\n" + PRINT_HIDDEN
    rows = run_as_a_stranger(HIDDEN_READERS[reader] + program, hidden_dump.path, tmp_path)
    assert set(rows) == set(hidden_dump.hidden)
    for own, layers in hidden_dump.hidden.items():
        for layer, expected in layers.items():
            found = np.array(rows[own][layer], np.float32)
            if codec == "bf16":
                np.testing.assert_array_equal(found, expected)
            lost = np.linalg.norm(found - expected, axis=1)
            assert lost.mean() <= INT8_BOUND * np.linalg.norm(expected, axis=1).mean()


@pytest.fixture(scope="module")
def true_logits(real_teacher: Path, real_dump: Path) -> dict[str, tuple[list[int], np.ndarray]]:
    """Ids and the teacher's own fp32 logits of the first rows of the real dump, by row id."""
    import torch
    from transformers import AutoModelForCausalLM

    import potstill

    model = AutoModelForCausalLM.from_pretrained(real_teacher, dtype=torch.float32).eval()
    found = {}
    with torch.inference_mode():
        for row in islice(potstill.open_dump(real_dump).rows(), 4):
            logits = model(torch.from_numpy(row.input_ids.astype(np.int64))[None]).logits[0]
            found[row.id] = (row.input_ids.tolist(), logits[row.positions].double().numpy())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_stranger_finds_what_the_real_teacher_said(
    reader: str,
    real_dump: Path,
    true_logits: dict[str, tuple[list[int], np.ndarray]],
    tmp_path: Path,
) -> None:
    rows = read_as_a_stranger(reader, real_dump, tmp_path)
    for name, (ids, logits) in true_logits.items():
        assert rows[name]["input_ids"] == ids
        check_positions(rows[name]["positions"]["1"], logits)
        check_positions(rows[name]["positions"]["2.0"], logits / 2)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def check_positions(positions: list, logits: np.ndarray) -> None:
    """Every decoded log-probability against the dense truth, within what rounding allows."""
    truth = log_softmax(logits)
    assert len(positions) == len(truth)
    for (ids, logprobs, tail), true in zip(positions, truth, strict=True):
        gaps = logits[0:0] if not ids else np.abs(true[ids] - true.max())
        np.testing.assert_array_less(
            np.abs(np.asarray(logprobs) - true[ids]), np.maximum(1, gaps * 2) / 32 + 0.01
        )
        kept = np.exp(true[ids]).sum()
        assert np.exp(tail) == pytest.approx(1 - kept, rel=0.01, abs=2e-9)
        total = np.exp(logprobs).sum() + np.exp(tail)
        assert total == pytest.approx(1, abs=1e-6), "the decoded distribution sums to one"


def test_strangers_cannot_import_ours(dump: Dump, tmp_path: Path) -> None:
    """The guard itself works: a reader that leans on us would fail."""
    program = BLOCK + "import schemas.codecs"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode and "is ours" in done.stderr
