"""What is wrong in a YAML file is said in words, with its line."""

from pathlib import Path

import pytest

from pipeline.yaml_file import read_yaml
from schemas.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("teacher: m\nout: a\x1bb\n", r"line 2: the character '\\x1b' has no place"),
        ("a: 1\na: 2\n", "line 2: the key 'a' appears twice"),
        ("a: [1\n", "Mend that line"),
        ("day: 2001-99-99\n", "holds a value that cannot be read"),
        ("? [1, 2]\n: x\n", "holds a value that cannot be read"),
        ("a: " + "[" * 5000, "cannot be read"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_yaml(path)


def test_values_and_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("# comment\nout: dump\ntop_k: 8\n")
    found = read_yaml(path)
    assert [(name, entry.value, entry.line) for name, entry in found.items()] == [
        ("out", "dump", 2),
        ("top_k", 8, 3),
    ]
