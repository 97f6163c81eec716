"""The words of `potstill verify` that are not about what it finds."""

from pathlib import Path

import pytest

from pipeline.cli_verify import share_of
from schemas.errors import ConfigError
from tests.dumps import write_dump
from tests.pipeline.command_line import potstill


@pytest.mark.parametrize("text", ["0/7", "8/7", "1", "1/0", "a/b", "-1/3", "1/2/3"])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="from 1/7 to 7/7"):
        share_of(text)
    ran = potstill("verify", "dump", f"--subset={text}")
    assert ran.code == 2 and "1/7" in ran.err


def test_a_share_says_that_it_is_one(tmp_path: Path) -> None:
    write_dump(tmp_path / "d", count=24)
    ran = potstill("verify", tmp_path / "d", "--subset", "3/3", "--jobs", "2")
    assert ran.code == 0
    assert "1 of 3 shards, 8 sequences" in ran.out and "this share" in ran.out
