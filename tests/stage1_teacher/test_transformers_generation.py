"""Responses of the transformers engine: the model's own, with the signals of the same pass."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.errors import ModelError
from schemas.manifest import Capture
from stage1_teacher.completions import Completion, Prompt, Sampling
from stage1_teacher.engine import EngineSettings
from stage1_teacher.engine_transformers import TransformersEngine
from stage1_teacher.samples import Sample
from stage1_teacher.tokenizer import load_tokenizer
from tests.capture_agreement import assert_agree
from tests.tiny import tiny_teacher

CAPTURE = Capture()
GREEDY = Sampling(temperature=0)
DRAWN = Sampling(temperature=0.9, top_p=0.95, seed=4)


@pytest.fixture(scope="module", params=["llama", "gemma2", "granite", "cohere"])
def teacher(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("writers") / request.param
    return tiny_teacher(folder, architecture=request.param, eos_token_id=[2, 7])


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("writers") / "llama")


def make_prompts(count: int = 5, max_tokens: int = 12) -> list[Prompt]:
    rng = np.random.default_rng(0)
    return [
        Prompt(
            id=f"p{number}",
            input_ids=rng.integers(8, 376, 3 + 5 * number).astype(np.int32),
            max_tokens=max_tokens - number,
        )
        for number in range(count)
    ]


def make_engine(folder: Path, batch_tokens: int = 4096, dtype: str = "float32"):
    settings = EngineSettings(model=folder, dtype=dtype, device="cpu", batch_tokens=batch_tokens)
    return TransformersEngine(settings)


def write(engine, prompts, sampling=GREEDY, capture=CAPTURE) -> list[Completion]:
    found = dict(engine.generate(prompts, sampling, capture, seed=3))
    assert sorted(found) == list(range(len(prompts)))
    return [found[index] for index in range(len(prompts))]


def finished(prompt: Prompt, completion: Completion) -> Sample:
    """The sequence that prompt and response make, its response captured."""
    length = len(prompt.input_ids)
    return Sample(
        id=prompt.id,
        source="x",
        input_ids=np.concatenate([prompt.input_ids, completion.output_ids]),
        segments=(),
        captured=((length - 1, length - 1 + len(completion.output_ids)),),
    )


def own_greedy(folder: Path, prompt: Prompt) -> list[int]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor(prompt.input_ids[None].astype(np.int64))
    out = model.generate(ids, do_sample=False, max_new_tokens=prompt.max_tokens, pad_token_id=0)
    return out[0, ids.shape[1] :].tolist()


def test_greedy_responses_are_those_of_transformers_itself(teacher: Path) -> None:
    prompts = make_prompts()
    for prompt, found in zip(prompts, write(make_engine(teacher), prompts), strict=True):
        assert found.output_ids.tolist() == own_greedy(teacher, prompt)
        ended = found.output_ids[-1] in (2, 7)
        assert found.finish_reason == ("stop" if ended else "length")


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_signals_are_those_of_the_finished_sequence(teacher: Path, sampling: Sampling) -> None:
    engine, prompts = make_engine(teacher), make_prompts()
    completions = write(engine, prompts, sampling)
    samples = [finished(*pair) for pair in zip(prompts, completions, strict=True)]
    captured = dict(engine.capture(samples, CAPTURE, seed=3))
    for index, completion in enumerate(completions):
        assert_agree(completion.signals, captured[index], atol=2e-4, same=0.9)


def test_a_shift_by_one_would_be_seen(llama: Path) -> None:
    engine, (prompt,) = make_engine(llama), make_prompts(1)
    (completion,) = write(engine, [prompt], DRAWN)
    sample = finished(prompt, completion)
    ((start, end),) = sample.captured
    shifted = replace(sample, captured=((start - 1, end - 1),))
    ((_, found),) = engine.capture([shifted], CAPTURE, seed=3)
    assert np.abs(found.token_logprobs - completion.signals.token_logprobs).mean() > 0.5


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_response_does_not_depend_on_the_batch(teacher: Path, sampling: Sampling) -> None:
    prompts = make_prompts()
    together = write(make_engine(teacher), prompts, sampling)
    alone = write(make_engine(teacher, batch_tokens=1), prompts[::-1], sampling)[::-1]
    for one, other in zip(together, alone, strict=True):
        assert one.output_ids.tolist() == other.output_ids.tolist()
        assert one.finish_reason == other.finish_reason
        assert_agree(one.signals, other.signals, atol=2e-4, same=0.9)


def test_samples_of_one_prompt_differ_and_another_seed_gives_others(llama: Path) -> None:
    (prompt,) = make_prompts(1)
    several = [replace(prompt, id=f"p/s{k}") for k in range(6)]
    engine = make_engine(llama)
    found = [c.output_ids.tolist() for c in write(engine, several, DRAWN)]
    assert len({tuple(ids) for ids in found}) == 6
    again = [c.output_ids.tolist() for c in write(engine, several, DRAWN)]
    assert again == found
    other = [c.output_ids.tolist() for c in write(engine, several, replace(DRAWN, seed=5))]
    assert other != found


def test_first_tokens_are_drawn_from_the_stored_distribution(llama: Path) -> None:
    """The realised tokens' stored probabilities explain what was drawn: no setting bends them."""
    (prompt,) = make_prompts(1)
    several = [replace(prompt, id=f"p/s{k}", max_tokens=1) for k in range(400)]
    whole = Capture(min_prob=None, top_k=384, tail_samples=0)
    found = write(make_engine(llama), several, Sampling(seed=1), whole)
    gaps = found[0].signals.topk.logits.astype(np.float64)
    shares = dict(zip(found[0].signals.topk.ids.tolist(), np.exp(gaps), strict=True))
    total = sum(shares.values())
    likely = max(shares, key=shares.__getitem__)
    share = shares[likely] / total
    hits = sum(int(c.output_ids[0]) == likely for c in found)
    spread = (400 * share * (1 - share)) ** 0.5
    assert abs(hits - 400 * share) < 4 * spread


def test_the_models_own_generation_settings_do_not_bend_what_is_written(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    folder = tiny_teacher(tmp_path / "t")
    plain = write(make_engine(folder), make_prompts())
    bent = GenerationConfig(eos_token_id=2, repetition_penalty=5.0, suppress_tokens=[9, 10, 11])
    bent.save_pretrained(folder)
    found = write(make_engine(folder), make_prompts())
    assert [c.output_ids.tolist() for c in found] == [c.output_ids.tolist() for c in plain]


def positions(completion: Completion) -> int:
    assert len(completion.signals.topk.offsets) == len(completion.output_ids) + 1
    return len(completion.signals.token_logprobs)


def test_every_end_gives_one_position_per_token(llama: Path, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    (prompt,) = make_prompts(1, max_tokens=10)
    (cut,) = write(make_engine(llama), [prompt])
    assert (cut.finish_reason, positions(cut)) == ("length", 10)

    folder = tiny_teacher(tmp_path / "t")
    end = next(i for i in range(2, 10) if cut.output_ids[i] not in cut.output_ids[:i])
    GenerationConfig(eos_token_id=[2, int(cut.output_ids[end])]).save_pretrained(folder)
    (ended,) = write(make_engine(folder), [prompt])
    assert ended.output_ids.tolist() == cut.output_ids[: end + 1].tolist()
    assert (ended.finish_reason, positions(ended)) == ("stop", end + 1)


def test_a_stop_text_ends_a_response_with_the_token_that_completes_it(llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    prompts = make_prompts(3, max_tokens=30)
    for prompt, whole in zip(prompts, write(make_engine(llama), prompts, DRAWN), strict=True):
        ids = whole.output_ids.tolist()
        texts = [tokenizer.decode(ids[:n], skip_special_tokens=True) for n in range(len(ids) + 1)]
        stop = texts[-1][6:9]
        expected = next(n for n, text in enumerate(texts) if stop in text)
        stopping = replace(DRAWN, stop=("never written", stop))
        (found,) = write(make_engine(llama), [prompt], stopping)
        assert found.output_ids.tolist() == ids[:expected]
        assert (found.finish_reason, positions(found)) == ("stop", expected)


def test_hidden_states_cover_prompt_and_response(llama: Path) -> None:
    capture = Capture(top_k=8, hidden_layers=["1", "last"], hidden_codec="bf16", hidden_width=32)
    engine, prompts = make_engine(llama), make_prompts()
    completions = write(engine, prompts, DRAWN, capture)
    samples = [finished(*pair) for pair in zip(prompts, completions, strict=True)]
    captured = dict(engine.capture(samples, capture, seed=3))
    for index, (sample, completion) in enumerate(zip(samples, completions, strict=True)):
        for layer in ("1", "last"):
            bits = completion.signals.hidden[layer]
            assert bits.shape == (len(sample.input_ids), 32)
            np.testing.assert_array_equal(bits, captured[index].hidden[layer])


def test_an_architecture_that_sees_its_padding_is_found_out(llama: Path, monkeypatch) -> None:
    engine, prompts = make_engine(llama), make_prompts(2)
    engine.start()
    model = engine._teacher.model
    real = model.forward

    def unmasked(*args, attention_mask=None, **words):
        return real(*args, attention_mask=None, **words)

    monkeypatch.setattr(model, "forward", unmasked)
    with pytest.raises(ModelError, match=r"padding on the left.*--batch-tokens 1"):
        write(engine, prompts)
    assert len(write(make_engine(llama, batch_tokens=1), prompts)) == 2


@pytest.mark.slow
def test_the_real_teacher_writes_as_transformers_does(real_teacher: Path) -> None:
    tokenizer = load_tokenizer(real_teacher)
    questions = ("What is 2 + 3?", "Name a colour, and say why you like it.")
    prompts = [
        Prompt(
            id=question,
            input_ids=np.array(
                tokenizer.encode(
                    tokenizer.chat([{"role": "user", "content": question}], generation_prompt=True),
                    special=False,
                ).ids,
                np.int32,
            ),
            max_tokens=24,
        )
        for question in questions
    ]
    engine = make_engine(real_teacher)
    completions = write(engine, prompts)
    for prompt, found in zip(prompts, completions, strict=True):
        assert found.output_ids.tolist() == own_greedy(real_teacher, prompt)
    samples = [finished(*pair) for pair in zip(prompts, completions, strict=True)]
    captured = dict(engine.capture(samples, CAPTURE, seed=3))
    for index, completion in enumerate(completions):
        assert_agree(completion.signals, captured[index], atol=1e-3, same=0.85)
