from pathlib import Path

import numpy as np
import pytest

import potstill
from schemas.codec_hidden import INT8_BOUND
from schemas.errors import ConfigError, DamagedError, InputError
from tests.dumps import Dump, hidden_policy, write_dump


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    return write_dump(tmp_path_factory.mktemp("rows") / "dump")


def test_rows_are_the_samples_decoded(dump: Dump) -> None:
    opened = potstill.open_dump(dump.path)
    rows = list(opened.rows())
    assert len(opened) == len(rows) == 24
    assert [row.id for row in rows] == list(dump.samples)
    for row in rows:
        sample, logits = dump.samples[row.id], dump.logits[row.id].astype(np.float64)
        assert row.input_ids.tolist() == sample.input_ids.tolist()
        assert row.positions.tolist() == list(sample.positions)
        assert row.segments == [(s.kind, s.start, s.end) for s in sample.segments]
        exact = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        for order, position in enumerate(row.positions):
            ids, logprobs = row.topk_ids[order], row.topk_logprobs[order]
            np.testing.assert_allclose(logprobs, exact[position, ids], atol=0.2)
            mass = np.exp(logprobs.astype(np.float64)).sum() + np.exp(row.tail_logmass[order])
            assert mass == pytest.approx(1, abs=1e-5)
            realised = exact[position, sample.input_ids[position + 1]]
            assert row.token_logprobs[order] == pytest.approx(realised, abs=1e-4)


def test_layers_that_are_not_there_are_refused(dump: Dump) -> None:
    with pytest.raises(InputError, match=r"layer 10.*none.*--hidden-layers 10"):
        next(potstill.open_dump(dump.path).rows(hidden=[10]))


@pytest.mark.parametrize("codec", ["int8", "bf16"])
def test_hidden_states_come_by_the_name_that_was_asked_for(codec: str, tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", capture=hidden_policy(codec))
    rows = list(potstill.open_dump(dump.path).rows(hidden=["last", 2]))
    assert [row.id for row in rows] == list(dump.samples)
    for row in rows:
        assert list(row.hidden) == ["last", 2]
        for asked, layer in (("last", "last"), (2, "2")):
            found, expected = row.hidden[asked], dump.hidden[row.id][layer]
            assert (found.dtype, found.shape) == (np.float32, expected.shape)
            assert found.shape[0] == len(row.input_ids)
            lost = np.linalg.norm(found - expected, axis=1)
            limit = {"int8": INT8_BOUND, "bf16": 0}[codec]
            assert lost.mean() <= limit * np.linalg.norm(expected, axis=1).mean()
    with pytest.raises(InputError, match=r"layer 1; it holds 0, 2, last"):
        next(potstill.open_dump(dump.path).rows(hidden=[1]))


def test_poisoned_hidden_states_never_come(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", capture=hidden_policy("bf16"))
    swapped = dump.manifest.shards[0].name, dump.manifest.shards[1].name
    first, second = (tmp_path / "dump/hidden" / name for name in swapped)
    data = second.read_bytes()
    second.write_bytes(first.read_bytes())
    first.write_bytes(data)
    with pytest.raises(DamagedError, match="hidden/part"):
        list(potstill.open_dump(dump.path).rows(hidden=[0]))


def test_the_words_of_the_commands_are_functions(dump: Dump, tmp_path: Path) -> None:
    assert potstill.verify(dump.path).ok
    with pytest.raises(ConfigError, match=r"no argument 'topk'.*'top_k'"):
        potstill.dump(teacher="t", corpus="c", out=tmp_path / "o", topk=3)
    with pytest.raises(ConfigError, match="out is missing"):
        potstill.train(dump=["d"], student="s")
    assert sorted(potstill.__all__) == sorted(
        name for name in potstill.__all__ if name in dir(potstill)
    )


def test_importing_it_imports_no_model_library() -> None:
    import subprocess
    import sys

    code = "import sys, potstill; print({'torch', 'transformers', 'pyarrow'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "set()"
