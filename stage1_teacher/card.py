"""The dataset card of a dump: README.md, whose front matter makes `load_dataset(<dump>)` work."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from schemas.errors import FormatError
from schemas.licences import is_unknown, joint_conditions, stated_in
from schemas.manifest import Capture, GenerationCounts, Settings, Shard
from stage1_teacher.preview_shard import has_preview

_SUMS = (
    *("rows", "tokens", "positions", "bytes", "hidden_bytes"),
    *("skipped", "truncated", "failed"),
)
_MEANS = ("kept", "drawn", "tail_mass", "negative_logprob")
TAGS = ["knowledge-distillation", "logits", "potstill"]
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a dump's ledger adds up to; `kept`, `drawn` and `tail_mass` are per position.

    `bytes_per_token` is of data/, `hidden_bytes_per_token` of hidden/.
    """

    rows: int
    tokens: int
    positions: int
    bytes: int
    bytes_per_token: float
    hidden_bytes_per_token: float
    kept: float
    drawn: float
    tail_mass: float
    perplexity: float
    skipped: int
    truncated: int
    failed: int
    generation: GenerationCounts | None


def figures(shards: Iterable[Shard]) -> Figures:
    """Sums and means over the ledger, which may be long: one pass."""
    sums: Counter[str] = Counter()
    means = dict.fromkeys(_MEANS, 0.0)
    responses: list[GenerationCounts] = []
    for shard in shards:
        sums.update({name: getattr(shard, name) for name in _SUMS})
        for name in _MEANS:
            means[name] += getattr(shard.statistics, name)
        responses = _generation(responses, shard.generation)
    positions, tokens = max(1, sums["positions"]), max(1, sums["tokens"])
    return Figures(
        **{name: sums[name] for name in ("rows", "tokens", "positions")},
        **{name: sums[name] for name in ("skipped", "truncated", "failed")},
        bytes=sums["bytes"] + sums["hidden_bytes"],
        bytes_per_token=sums["bytes"] / tokens,
        hidden_bytes_per_token=sums["hidden_bytes"] / tokens,
        kept=means["kept"] / positions,
        drawn=means["drawn"] / positions,
        tail_mass=means["tail_mass"] / positions,
        perplexity=float(np.exp(means["negative_logprob"] / positions)),
        generation=responses[0] if responses else None,
    )


def _generation(
    so_far: list[GenerationCounts], more: GenerationCounts | None
) -> list[GenerationCounts]:
    """What became of all responses; nothing where the teacher wrote none."""
    found = [*so_far, *([more] if more else [])]
    if len(found) < 2:
        return found
    names = GenerationCounts.model_fields
    return [GenerationCounts(**{name: sum(getattr(c, name) for c in found) for name in names})]


def dataset_card(settings: Settings, shards: Sequence[Shard], created_by: str) -> str:
    """README.md: front matter through huggingface_hub, the body from card.md.jinja."""
    from huggingface_hub import DatasetCard, DatasetCardData

    found = figures(shards)
    data = DatasetCardData(**_front_matter(settings, found))
    template = files(__package__).joinpath("card.md.jinja").read_text("utf-8")
    card = DatasetCard.from_template(
        data,
        template_str=template,
        title=_title(settings),
        m=settings,
        f=found,
        created_by=created_by,
        policy=policy_sentence(settings.capture),
        snippet=decode_snippet(),
        hidden=hidden_sentence(settings.capture),
        hidden_snippet=hidden_snippet(),
        privacy=privacy_lines(settings),
        has_preview=has_preview(settings),
        conditions=joint_conditions(stated_in(settings)),
        is_unknown=is_unknown,
    )
    return str(card)


def _title(settings: Settings) -> str:
    did = "answered" if settings.generation else "saw"
    return f"{settings.corpus.name} as {settings.teacher.name} {did} it"


def _front_matter(settings: Settings, found: Figures) -> dict[str, Any]:
    return {
        "pretty_name": _title(settings),
        "license": joint_conditions(stated_in(settings)).license,
        "tags": [*TAGS, f"teacher:{settings.teacher.name}"],
        "task_categories": ["text-generation"],
        "size_categories": [next((s for n, s in _SIZES if found.rows < n), "n>100M")],
        "configs": _configs(settings),
    }


def _configs(settings: Settings) -> list[dict[str, Any]]:
    configs: list[dict[str, Any]] = [
        {"config_name": "default", "data_files": "data/*.parquet", "default": True},
    ]
    if has_preview(settings):
        configs.append({"config_name": "preview", "data_files": "preview/*.parquet"})
    if settings.capture.hidden_layers:
        configs.append({"config_name": "hidden", "data_files": "hidden/*.parquet"})
    return configs


def policy_sentence(capture: Capture) -> str:
    """The capture policy in words."""
    if capture.min_prob is None:
        return f"the {capture.top_k} most probable entries"
    share = 1 / capture.min_prob
    bound = f"1/{share:.0f}" if abs(share - round(share)) < 1e-9 else f"{capture.min_prob:g}"
    return f"every entry with p ≥ {bound}, at most {capture.top_k}"


def hidden_sentence(capture: Capture) -> str:
    """Which hidden states are stored and how, in words; empty when none are."""
    if not capture.hidden_layers:
        return ""
    narrow = capture.hidden_projection
    width = f"{capture.hidden_width} wide"
    if narrow:
        width = f"projected from width {capture.hidden_width} to {narrow.width}"
    return f"layers {', '.join(capture.hidden_layers)}; {width}, {capture.hidden_codec}"


def privacy_lines(settings: Settings) -> list[str]:
    """What was done about private data, a sentence each."""
    privacy, floor, lines = settings.privacy, settings.capture.probability_floor, []
    if privacy is not None and privacy.scrubbed:
        lines.append(
            f"replaced in the corpus before the teacher read it, as far as {privacy.scrubber} "
            f"finds them: {', '.join(privacy.scrubbed)}"
        )
    if privacy is not None and privacy.dropped:
        lines.append(f"not stored: {', '.join(privacy.dropped)}")
    if privacy is not None and privacy.hashed:
        lines.append(f"stored as hashes: {', '.join(privacy.hashed)}")
    if privacy is not None and not privacy.text:
        lines.append("no columns of text and no preview; token ids are text to who decodes them")
    if floor is not None:
        lines.append(f"entries less probable than {floor:g} are not stored")
    return lines


def decode_snippet() -> str:
    """The decoding rule as FORMAT.md prints it."""
    return _snippet("decode")


def hidden_snippet() -> str:
    """The same for hidden states."""
    return _snippet("decode hidden")


def _snippet(name: str) -> str:
    """The Python between two comments of FORMAT.md.

    Raises:
        FormatError: FORMAT.md was installed without that block.
    """
    text = files("schemas").joinpath("FORMAT.md").read_text("utf-8")
    found = re.search(rf"^<!-- {name}: [^\n]*-->\n```python\n(.*?)^```", text, re.M | re.S)
    if found is None:
        raise FormatError(f"FORMAT.md has no snippet {name!r}: reinstall potstill.")
    return found[1].rstrip()
