"""What the machine can run out of, and a step that is no number, in words that help."""

import pytest
import torch

from schemas.errors import ConfigError, TemporaryError
from stage2_student.run_failures import diverged, explained

KNOBS = "--batch-size.*--grad-accumulation.*--gradient-checkpointing.*--dtype bfloat16"


def test_too_little_memory_names_the_knobs(tmp_path):
    with pytest.raises(ConfigError, match=f"out of memory: .*{KNOBS}"), explained(tmp_path):
        torch.empty(2**55, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=f"out of memory: CUDA.*{KNOBS}"), explained(tmp_path):
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_a_full_disk_names_the_folder_and_how_to_go_on(tmp_path):
    with (
        pytest.raises(TemporaryError, match=r"could not be written: .*No space left.*--resume"),
        explained(tmp_path),
    ):
        raise OSError(28, "No space left on device")


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match=r"^a bug$"), explained(tmp_path):
        raise RuntimeError("a bug")


def test_a_step_that_is_no_number_names_its_samples_or_says_that_it_was_the_gradient():
    text = diverged(6, [f"s{n}" for n in range(7)])
    assert "at step 7, on s0, s1, s2, s3, s4 and 2 more. The weights were left" in text
    assert "the gradient is not a finite number at step 7" in diverged(6, [])
