"""vLLM's numbers under other heads, other architectures and preemption, against transformers."""

from pathlib import Path

import numpy as np
import pytest

from stage1_teacher.engine import EngineSettings
from stage1_teacher.engine_transformers import TransformersEngine
from tests.stage1_teacher.test_engine_transformers import TOP_K, make_samples, run
from tests.stage1_teacher.vllm_agreement import GREEDY, assert_close, prompts, vllm, written_by
from tests.stage1_teacher.vllm_teachers import vllm_teacher

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("head_dtype", ["float32", "model"])
def test_the_head_is_as_precise_as_was_asked_for(tmp_path: Path, head_dtype: str) -> None:
    """bfloat16 logits have 8 bits; from the same weights float32 ones have more."""
    teacher = vllm_teacher(tmp_path / "teacher")
    ours = vllm(teacher, dtype="bfloat16", options={"head_dtype": head_dtype})
    theirs = TransformersEngine(EngineSettings(model=teacher, dtype="bfloat16"))
    samples = make_samples((60,))
    (found,), (twin,) = run(ours, samples, TOP_K), run(theirs, samples, TOP_K)
    assert np.abs(found.token_logprobs - twin.token_logprobs).mean() < 0.05
    coarse = (found.max_logit.view(np.uint32) & 0xFFFF) == 0
    assert coarse.all() == (head_dtype == "model")


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        # vLLM's attention on a CPU approximates this softcapping to 1e-2, so it is left out
        ("gemma2", {"attn_logit_softcapping": None}),
        ("granite", {}),
        ("cohere", {}),
    ],
)
def test_scaled_and_softcapped_logits(tmp_path: Path, architecture: str, config: dict) -> None:
    folder = vllm_teacher(tmp_path / "teacher", architecture=architecture, **config)
    ours = vllm(folder, hidden_layers=("last",))
    theirs = TransformersEngine(EngineSettings(model=folder, dtype="float32"))
    samples = make_samples((40, 13))
    for found, twin in zip(run(ours, samples, TOP_K), run(theirs, samples, TOP_K), strict=True):
        assert_close(found, twin)
    asked = prompts(2)
    expected = written_by(theirs, asked, GREEDY)
    for one, twin_written in zip(written_by(ours, asked, GREEDY), expected, strict=True):
        np.testing.assert_array_equal(one.output_ids, twin_written.output_ids)
        assert_close(one.signals, twin_written.signals)
