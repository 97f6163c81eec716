"""No option that nothing reads: every field of a command's settings is used by its code."""

import re
from pathlib import Path

import pytest

from pipeline.cli import spec_of
from pipeline.command_names import COMMANDS

ROOT = Path(__file__).parents[2]
SOURCES = "\n".join(
    path.read_text()
    for package in ("stage1_teacher", "stage2_student", "pipeline")
    for path in (ROOT / package).glob("*.py")
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_is_read(command: str) -> None:
    unread = [
        field
        for field in spec_of(command).model.model_fields
        if not re.search(rf"\b(settings|self|s)\.{field}\b", SOURCES)
    ]
    assert unread == []
