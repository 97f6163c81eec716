"""Audits a dump by its gold sample: what is stored, and what other policies would have stored.

At the positions of the gold sample the full distribution p is had again from states and head. What
is stored gives p̂: the kept entries decoded, and the rest by the tail sample (each draw 1/S) or,
without one, as one outcome that keeps the student's own proportions. Per policy:

    codec KL        Σ kept p·(log p − log p̂) + the same for all the rest as one outcome
    tail error      |stored mass outside the kept entries − true one|
    gradient error  √(Σ ‖ĝ − g‖² / Σ ‖g‖²) over positions, g = q − p being the forward KL's gradient
                    with respect to the logits of a student q, and ĝ the one that p̂ gives
    its mean        ‖Σ (ĝ − g)‖ / ‖Σ g‖: what is left when all positions are averaged

The student q is the teacher with every token's logit off by a Gaussian of one nat, the same at all
positions: a student that is wrong in a way, so that its gradients add up.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.gold_measures import Measures, measure
from pipeline.gold_policies import policies
from pipeline.gold_rows import GoldRow, gold_rows
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.dump_folder import DumpFolder
from schemas.gold import GoldInfo, read_gold_info, read_head
from schemas.manifest import Capture
from schemas.progress import Progress, Report, ignore
from schemas.shards import write_shard
from stage1_teacher.capture import Reduction
from stage1_teacher.capture_signals import gather_signals
from stage1_teacher.output_head import OutputHead
from stage1_teacher.probability_floor import floored
from stage1_teacher.samples import Ragged, Signals
from stage1_teacher.shard_tables import shard_table
from stage1_teacher.shard_writer import row_groups
from stage1_teacher.tail_offsets import tail_offsets

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_CODEC = CODECS["gap5"]

FAR = 0.05
"""A mean KL that no rounding of a teacher explains: the stored rows are not of the gold states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFigures:
    """What a policy costs and keeps; this module's docstring has the formulas.

    Attributes:
        name: of the policy.
        bytes_per_token: of data/, of the gold sequences alone.
        kept: entries per position.
        drawn: tail draws per position.
        kl_mean: codec KL in nats.
        kl_max: the largest of a position.
        tail_error: mean absolute error of the tail mass.
        gradient_error: at one position.
        mean_gradient_error: of the mean over all positions.
    """

    name: str
    bytes_per_token: float
    kept: float
    drawn: float
    kl_mean: float
    kl_max: float
    tail_error: float
    gradient_error: float
    mean_gradient_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldAudit:
    """What an audit found.

    Attributes:
        url: the dump.
        sequences: of the gold sample.
        tokens: their tokens.
        positions: their captured positions.
        stored_kl_mean: KL of what the dump holds from the gold distributions: the codec's, and what
            the teacher's own rounding adds when it runs twice.
        stored_kl_max: the largest of a position.
        top1: share of positions whose most probable token is the gold one.
        tail_error: mean absolute error of the stored tail mass.
        policies: the dump's own first.
    """

    url: str
    sequences: int
    tokens: int
    positions: int
    stored_kl_mean: float
    stored_kl_max: float
    top1: float
    tail_error: float
    policies: tuple[PolicyFigures, ...]

    @property
    def ok(self) -> bool:
        """Whether the stored rows are what the gold states say."""
        return self.stored_kl_mean < FAR


def audit(dump: DumpFolder, report: Report = ignore) -> GoldAudit:
    """Audits a dump by its gold sample; needs no teacher.

    Raises:
        InputError: it has no gold sample.
        DamagedError: the sample is damaged, or not of this dump.
    """
    info = read_gold_info(dump)
    head, rows = _head(dump, info), list(gold_rows(dump, info))
    own = dump.manifest.capture
    compared = policies(own, info.head_rows)
    stored = measure(head, rows, [row.signals for row in rows], own.tail_samples)
    figures = []
    for done, (name, policy) in enumerate(compared.items()):
        report(Progress(stage="audit", done=done, total=len(compared), unit="policies"))
        figures.append(_policy(head, rows, name, policy))
    report(Progress(stage="audit", done=len(compared), total=len(compared), unit="policies"))
    return GoldAudit(
        url=dump.url,
        sequences=len(rows),
        tokens=_tokens(rows),
        positions=stored.positions,
        stored_kl_mean=stored.kl_mean,
        stored_kl_max=stored.kl_max,
        top1=stored.top1 / max(1, stored.positions),
        tail_error=stored.mean_tail_error,
        policies=tuple(figures),
    )


def _tokens(rows: Sequence[GoldRow]) -> int:
    return sum(len(row.sample.input_ids) for row in rows)


def _head(dump: DumpFolder, info: GoldInfo) -> OutputHead:
    """The head as the engine ran it: the same product in the same precision."""
    weight, bias = read_head(dump, info)
    kind = _DTYPES[info.logits_dtype]
    return OutputHead(
        weight_VD=torch.from_numpy(weight).to(kind),
        bias_V=None if bias is None else torch.from_numpy(bias).to(kind),
        scale=info.scale,
        softcap=info.softcap,
    )


def _policy(head: OutputHead, rows: Sequence[GoldRow], name: str, policy: Capture) -> PolicyFigures:
    signals = _captured(head, rows, policy)
    found = measure(head, rows, [_rounded(s) for s in signals], policy.tail_samples)
    return _figures(name, found, signals, _bytes(rows, signals, policy) / max(1, _tokens(rows)))


def _figures(
    name: str, found: Measures, signals: Sequence[Signals], bytes_per_token: float
) -> PolicyFigures:
    positions = max(1, found.positions)
    return PolicyFigures(
        name=name,
        bytes_per_token=bytes_per_token,
        kept=sum(len(s.topk.ids) for s in signals) / positions,
        drawn=sum(len(s.tail.ids) for s in signals) / positions,
        kl_mean=found.kl_mean,
        kl_max=found.kl_max,
        tail_error=found.mean_tail_error,
        gradient_error=found.gradient_error,
        mean_gradient_error=found.mean_gradient_error,
    )


@torch.inference_mode()
def _captured(head: OutputHead, rows: Sequence[GoldRow], policy: Capture) -> list[Signals]:
    """What stage one would have captured by this policy: its own reduction, on the gold states."""
    reduction = Reduction(head, policy)
    found = []
    for row in rows:
        at = row.sample.positions
        next_ids = torch.from_numpy(row.sample.input_ids[at + 1].astype(np.int64))
        offsets = torch.from_numpy(tail_offsets(0, row.sample.id, at))
        parts = reduction(torch.from_numpy(row.states), next_ids, offsets)
        found.append(floored(gather_signals(parts, policy.temperatures), policy))
    return found


def _rounded(signals: Signals) -> Signals:
    return replace(
        signals,
        topk=_rounded_part(signals.topk),
        tail=_rounded_part(signals.tail),
        tail_logmass=_CODEC.round_logmass(signals.tail_logmass),
    )


def _rounded_part(part: Ragged) -> Ragged:
    return replace(part, logits=_CODEC.round_logits(part.logits)) if len(part.ids) else part


def _bytes(rows: Sequence[GoldRow], signals: Sequence[Signals], policy: Capture) -> int:
    """Bytes of a shard of these rows."""
    sink, columns = io.BytesIO(), shard_columns(policy.temperatures)
    pairs = ((row.sample, found) for row, found in zip(rows, signals, strict=True))
    tables = (shard_table(group, columns, policy, _CODEC) for group in row_groups(pairs))
    write_shard(sink, tables, columns, {})
    return sink.tell()
