"""The one direction of the imports, and the names that files may not have."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "schemas": set(),
    "stage1_teacher": {"schemas"},
    "stage2_student": {"schemas"},
    "pipeline": {"schemas", "stage1_teacher", "stage2_student"},
}
FORBIDDEN_IN = {
    "schemas": {"torch", "transformers", "datasets", "vllm", "ray", "potstill"},
    "stage2_student": {"vllm", "ray", "potstill"},
    "stage1_teacher": {"potstill"},
    "pipeline": set(),
}
SOURCES = [p for package in MAY_IMPORT for p in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = imports(path) & set(MAY_IMPORT) - {package}
    assert ours <= MAY_IMPORT[package]
    assert not imports(path) & FORBIDDEN_IN[package]


def test_the_direction_test_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from stage1_teacher import run\n")
    assert imports(bad) == {"stage1_teacher"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_named_after_one_thing_and_small(path: Path) -> None:
    assert not {"utils", "common", "base", "helpers"} & set(path.stem.split("_"))
    assert len(path.read_text().splitlines()) <= 300
    assert path.parent.parent == ROOT, "packages are flat"


def test_data_is_checked_with_exceptions() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert not found
