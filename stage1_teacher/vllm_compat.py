"""vLLM through its public interface only: slower, and less is known than beside the model.

`prompt_logprobs` gives the most probable entries of a position and the realised token's, as
log-probabilities at temperature 1. The tail's mass is what is missing to 1, at temperature 1 only;
there is no tail sample, no raw logit and no hidden state. vLLM breaks ties as it likes, so where
several entries are equal at the last place kept, any of them is there.

Shapes: R rows (positions of one sequence), K entries of a row, L tokens of a sequence.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import ConfigError, DamagedError
from schemas.manifest import Capture
from schemas.manifest import Engine as EngineInfo
from stage1_teacher.completions import Completion, Prompt, Sampling
from stage1_teacher.engine import EngineSettings
from stage1_teacher.response_ends import end_ids
from stage1_teacher.samples import Ragged, Sample, Signals
from stage1_teacher.vllm_death import explained_death
from stage1_teacher.vllm_options import vllm_info
from stage1_teacher.vllm_start import start_llm

Doubles = npt.NDArray[np.float64]

CAP = 1024
"""Most entries of a position: each is a Python object on its way out of vLLM."""

_STEP_TOKENS = 2048
"""Tokens of one step: vLLM holds [tokens × vocabulary] log-probabilities of them, unasked."""
_GROUP_TOKENS = 16_384
"""Tokens of the sequences that are asked for at once: their entries are held in Python lists."""
_FLOOR = 1e-30

log = logging.getLogger(__name__)


class CompatEngine:
    """Asks vLLM for log-probabilities as any program may."""

    def __init__(self, settings: EngineSettings, fallback_reason: str | None = None) -> None:
        self._settings = settings
        self._fallback_reason = fallback_reason
        self._llm: Any = None
        self._ends: list[int] = []

    def info(self) -> EngineInfo:
        """That it is vLLM, which version, and why it is read in this way."""
        return vllm_info(self._settings, "compat", self._fallback_reason)

    def supported(self, capture: Capture) -> Capture:
        """The policy at temperature 1 without a tail sample; warns of what that leaves out.

        Raises:
            ConfigError: hidden states, or more entries than this way gives.
        """
        if capture.hidden_layers:
            raise ConfigError(
                "vLLM's public interface gives no hidden states; found hidden_layers "
                f"{','.join(capture.hidden_layers)} with the mode compat. Leave --hidden-layers "
                "out, or give --engine-mode capture or --engine transformers."
            )
        _check_cap(capture.top_k)
        narrowed = capture.model_copy(
            update={"temperatures": [1.0], "tail_samples": 0, "optional_columns": _known(capture)}
        )
        if narrowed != capture:
            log.warning(
                "vLLM's public interface gives no tail sample, no raw logits and the tail's mass "
                "at temperature 1 only: the dump is made without the rest."
            )
        return narrowed

    def start(self) -> None:
        """Loads the teacher, once.

        Raises:
            ModelError: vLLM cannot run it with these options.
        """
        if self._llm is None:
            step = min(_STEP_TOKENS, self._settings.batch_tokens)
            wanted = self._settings.options.get("max_num_batched_tokens", step)
            self._llm = start_llm(self._settings, max_logprobs=CAP, max_num_batched_tokens=wanted)
            self._ends = end_ids(self._settings)

    def capture(
        self, samples: Sequence[Sample], capture: Capture, seed: int
    ) -> Iterator[tuple[int, Signals]]:
        """Yields (index into `samples`, signals), in order; `seed` has nothing to draw.

        Raises:
            ModelError: the teacher cannot be loaded.
            DamagedError: vLLM's answer has another form than it should.
        """
        for group in _groups([len(sample.input_ids) for sample in samples]):
            answers = self._ask(
                [samples[index].input_ids for index in group],
                self._params(max_tokens=1, prompt_logprobs=_entries(capture)),
            )
            for index, answer in zip(group, answers, strict=True):
                rows = _rows(answer.prompt_logprobs, capture)[samples[index].positions]
                yield index, _signals(rows, capture)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, capture: Capture, seed: int
    ) -> Iterator[tuple[int, Completion]]:
        """Yields (index into `prompts`, completion), in order; `seed` has nothing to draw.

        Raises:
            ModelError: the teacher cannot be loaded.
            DamagedError: vLLM's answer has another form than it should.
        """
        for group in _groups([len(p.input_ids) + p.max_tokens for p in prompts]):
            asked = [prompts[index] for index in group]
            params = [self._sampling(prompt, sampling, capture) for prompt in asked]
            answers = self._ask([prompt.input_ids for prompt in asked], params)
            for index, answer in zip(group, answers, strict=True):
                yield index, _completion(answer.outputs[0], capture)

    def _sampling(self, prompt: Prompt, sampling: Sampling, capture: Capture) -> Any:
        return self._params(
            max_tokens=prompt.max_tokens,
            logprobs=_entries(capture),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed_of(prompt.id),
            stop=list(sampling.stop),
            include_stop_str_in_output=True,
            detokenize=bool(sampling.stop),  # stop texts are looked for in text
            stop_token_ids=self._ends,
            ignore_eos=True,  # the tokens that end a response are those of `_ends`
        )

    def _params(self, **more: Any) -> Any:
        from vllm import SamplingParams

        return SamplingParams(**{"flat_logprobs": True, "detokenize": False, **more})

    def _ask(self, sequences: Sequence[npt.NDArray[np.int32]], params: Any) -> Any:
        self.start()
        prompts = [{"prompt_token_ids": ids.tolist()} for ids in sequences]
        with explained_death():
            return self._llm.generate(prompts, params, use_tqdm=False)


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in order, in groups of about `_GROUP_TOKENS` tokens but at least one sequence."""
    group: list[int] = []
    held = 0
    for index, length in enumerate(lengths):
        if group and held + length > _GROUP_TOKENS:
            yield group
            group, held = [], 0
        group.append(index)
        held += length
    if group:
        yield group


def _entries(capture: Capture) -> int:
    _check_cap(capture.top_k)
    return capture.top_k


def _check_cap(top_k: int) -> None:
    if top_k > CAP:
        raise ConfigError(
            f"top_k {top_k} is above what vLLM's public interface is asked for, {CAP}. Give "
            f"--top-k {CAP} or less, or --engine-mode capture."
        )


def _known(capture: Capture) -> list[str]:
    return [name for name in capture.optional_columns if name != "max_logit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """What vLLM says of R rows: ids and log-probabilities, most probable first."""

    realised_R: Doubles
    ids_RK: npt.NDArray[np.int64]
    logprobs_RK: Doubles

    def __getitem__(self, rows: npt.NDArray[np.int32]) -> "_Rows":
        return _Rows(
            realised_R=self.realised_R[rows],
            ids_RK=self.ids_RK[rows],
            logprobs_RK=self.logprobs_RK[rows],
        )


def _rows(flat: Any, capture: Capture) -> _Rows:
    """From vLLM's flat lists: of every row the realised token first, then the K entries.

    Of a prompt the list begins with an empty row, since nothing predicts its first token.
    """
    widths = np.subtract(flat.end_indices, flat.start_indices)
    rows, width = int((widths > 0).sum()), capture.top_k + 1
    if not (widths[len(widths) - rows :] == width).all() or rows < len(widths) - 1:
        raise DamagedError(
            f"vLLM gave {sorted(set(widths.tolist()))} entries at a position instead of {width}. "
            "Give --engine transformers, and report this."
        )
    ids_RK = np.asarray(flat.token_ids, np.int64).reshape(rows, width)
    logprobs_RK = np.asarray(flat.logprobs, np.float64).reshape(rows, width)
    order_RK = np.lexsort((ids_RK[:, 1:], -logprobs_RK[:, 1:]), axis=-1)
    return _Rows(
        realised_R=logprobs_RK[:, 0],
        ids_RK=np.take_along_axis(ids_RK[:, 1:], order_RK, axis=-1),
        logprobs_RK=np.take_along_axis(logprobs_RK[:, 1:], order_RK, axis=-1),
    )


def _signals(rows: _Rows, capture: Capture) -> Signals:
    count = len(rows.realised_R)
    p_RK = np.exp(rows.logprobs_RK)
    keep_RK = np.ones_like(p_RK, bool) if capture.min_prob is None else p_RK >= capture.min_prob
    keep_RK[:, :1] = True
    outside_R = 1 - np.where(keep_RK, p_RK, 0).sum(-1)
    gaps_RK = rows.logprobs_RK - rows.logprobs_RK[:, :1]
    offsets = np.concatenate([[0], np.cumsum(keep_RK.sum(-1))]).astype(np.int64)
    return Signals(
        topk=Ragged(
            offsets=offsets,
            ids=rows.ids_RK[keep_RK].astype(np.int32),
            logits=gaps_RK[keep_RK].astype(np.float32),
        ),
        tail=Ragged(
            offsets=np.zeros(count + 1, np.int64),
            ids=np.zeros(0, np.int32),
            logits=np.zeros(0, np.float32),
        ),
        tail_logmass=np.log(np.maximum(outside_R, _FLOOR)).astype(np.float32).reshape(-1, 1),
        max_logit=np.zeros(count, np.float32),
        token_logprobs=rows.realised_R.astype(np.float32),
    )


def _completion(answer: Any, capture: Capture) -> Completion:
    return Completion(
        output_ids=np.asarray(answer.token_ids, np.int32),
        finish_reason="length" if answer.finish_reason == "length" else "stop",
        signals=_signals(_rows(answer.logprobs, capture), capture),
    )
