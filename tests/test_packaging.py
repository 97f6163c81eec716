"""What a wheel holds, and that the contract can be vendored alone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BLOCKED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


@pytest.mark.parametrize(
    "name",
    [
        "potstill.py",
        "schemas/FORMAT.md",
        "schemas/manifest.schema.json",
        "stage1_teacher/run.py",
        "stage1_teacher/augment_harder.jinja",
        "stage1_teacher/reasoning_tags.jinja",
        "stage2_student/run.py",
        "pipeline/cli.py",
        "pipeline/report.html.j2",
        "pipeline/examples/dump.yaml",
        "pipeline/examples/train.yaml",
    ],
)
def test_wheel_holds_what_runs_need(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()


def test_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {
        "potstill.py",
        "schemas",
        "stage1_teacher",
        "stage2_student",
        "pipeline",
    }


def run_python(code: str, blocked: set[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    program = BLOCKED.format(blocked=blocked) + code
    return subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_contract_is_vendorable_alone(tmp_path: Path) -> None:
    (tmp_path / "schemas").symlink_to(ROOT / "schemas")
    modules = [f"schemas.{p.stem}" for p in (ROOT / "schemas").glob("*.py")]
    blocked = {"torch", "transformers", "datasets", "click", "rich", "stage1_teacher", "pipeline"}
    result = run_python(f"import {', '.join(modules)}", blocked, tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_foreign_schemas_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "__init__.py").write_text("")
    code = f"import sys; sys.path[1:1] = [{str(ROOT)!r}]; import stage2_student"
    result = run_python(code, set(), tmp_path)
    assert result.returncode != 0
    assert str(tmp_path / "schemas") in result.stderr
    assert "shadows" in result.stderr


def test_cli_starts_without_torch(tmp_path: Path) -> None:
    blocked = {"torch", "transformers", "datasets", "altair", "pandas"}
    code = (
        f"sys.path[1:1] = [{str(ROOT)!r}]; sys.argv = ['potstill', '--help'];"
        "from pipeline.cli import main; main()"
    )
    result = run_python(code, blocked, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "quickstart" in result.stdout
