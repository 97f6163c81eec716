"""The pages under docs/ run: their Python blocks are executed as they stand there."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import quality_table
from benchmarks.dump_tables import TABLES, Table
from benchmarks.machine import read_result
from stage2_student.hidden_losses import HIDDEN_LOSSES
from stage2_student.losses import LOSSES
from tests.test_packaging import BLOCKED

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = {"schemas", "stage1_teacher", "stage2_student", "pipeline", "potstill"}


def python_blocks(page: Path) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S))


@pytest.mark.slow
def test_consumer_page_runs_where_potstill_cannot_be_imported(
    real_dump: Path, tmp_path: Path
) -> None:
    program = BLOCKED.format(blocked=OURS) + f"DUMP = {str(real_dump)!r}\n"
    program += python_blocks(ROOT / "docs" / "dataset-consumers.md")
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "ALTERED" not in result.stdout
    assert float(result.stdout.splitlines()[-1]) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_takes_the_units_of_the_operators_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "dump-operators.md").read_text()
    service, timer = re.findall(r"^```ini\n(\[Unit\].*?)^```", page, re.M | re.S)
    here = service.replace("/srv/potstill", str(ROOT)).replace("User=potstill", "User=root")
    units = [tmp_path / f"potstill-nightly.{kind}" for kind in ("service", "timer")]
    for path, text in zip(units, (here, timer), strict=True):
        path.write_text(text)
    words = ["systemd-analyze", "verify", *map(str, units)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_every_loss_stands_in_the_table_with_its_arguments_and_its_tail() -> None:
    page = (ROOT / "docs" / "student-trainers.md").read_text()
    found = {}
    for row in re.findall(r"^\| `(\w+)(?:\((.*?)\))?` \| .* \| (?:`(\w+)`)? ?\|$", page, re.M):
        name, arguments, tail = row
        found[name] = (dict(a.split("=") for a in arguments.split(", ") if a), tail or "none")
    for name, loss in LOSSES.items():
        expected = {argument: f"{a.default:g}" for argument, a in loss.arguments.items()}
        assert found.get(name) == (expected, loss.tail), name


def test_every_loss_on_hidden_states_stands_in_the_table() -> None:
    page = (ROOT / "docs" / "student-trainers.md").read_text()
    assert set(re.findall(r"^\| `(hidden_\w+)` \|", page, re.M)) == set(HIDDEN_LOSSES)


def test_the_table_of_tails_says_what_the_benchmark_found() -> None:
    page = (ROOT / "docs" / "student-trainers.md").read_text()
    result = json.loads((ROOT / "benchmarks" / "results" / "loss_tails.json").read_text())
    (head,) = re.findall(r"^\| tail, student \| (.*) \|$", page, re.M)
    losses = re.findall(r"`(\w+)`", head)
    found = {
        f"{student}/{loss}/{tail}": cell
        for tail, student, row in re.findall(r"^\| `(\w+)`, (\w+) \| (.*) \|$", page, re.M)
        for loss, cell in zip(losses, row.split(" | "), strict=True)
    }
    assert found == {key: f"{e['together']:.2g}" for key, e in result["errors"].items()}


def test_the_table_of_trained_students_says_what_the_benchmark_found() -> None:
    expected = quality_table.table(read_result("quality"))
    assert (
        f"{quality_table.BEGIN}\n{expected}\n{quality_table.END}" in quality_table.PAGE.read_text()
    )


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.result)
def test_the_tables_about_dumps_say_what_the_benchmarks_found(table: Table) -> None:
    assert table.text in table.page.read_text()
