"""What several tests of stage one need."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: thousands of fsyncs are tested here."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="potstill-test-", dir=parent))
    yield path
    shutil.rmtree(path)
