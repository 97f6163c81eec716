"""The capture policies that an audit compares: the dump's own, and what else could have been."""

from schemas.manifest import Capture

_ALTERNATIVES: dict[str, dict[str, float | int | None]] = {
    "default": {"min_prob": 1 / 512, "top_k": 64, "tail_samples": 64},
    "default, no sample": {"min_prob": 1 / 512, "top_k": 64, "tail_samples": 0},
    "p ≥ 1/128, S 32": {"min_prob": 1 / 128, "top_k": 64, "tail_samples": 32},
    "p ≥ 1/256, S 64": {"min_prob": 1 / 256, "top_k": 64, "tail_samples": 64},
    "p ≥ 1/1024, no sample": {"min_prob": 1 / 1024, "top_k": 64, "tail_samples": 0},
    "p ≥ 1/1024, S 128": {"min_prob": 1 / 1024, "top_k": 64, "tail_samples": 128},
    "k 32": {"min_prob": None, "top_k": 32, "tail_samples": 0},
    "k 64": {"min_prob": None, "top_k": 64, "tail_samples": 0},
    "k 128": {"min_prob": None, "top_k": 128, "tail_samples": 0},
    "default, floor 1e-4": {
        "min_prob": 1 / 512,
        "top_k": 64,
        "tail_samples": 64,
        "probability_floor": 1e-4,
    },
    "default, floor 1e-3": {
        "min_prob": 1 / 512,
        "top_k": 64,
        "tail_samples": 64,
        "probability_floor": 1e-3,
    },
}
"""By name; the floor is `dump --probability-floor`."""

OWN = "this dump"


def policies(own: Capture, head_size: int) -> dict[str, Capture]:
    """The dump's own policy, and the alternatives that a head of `head_size` rows allows."""
    plain: dict[str, object] = {"optional_columns": [], "hidden_layers": [], "hidden_codec": None}
    plain |= {"hidden_width": None, "hidden_projection": None}
    base = own.model_copy(update=plain)
    found = {OWN: base}
    for name, change in _ALTERNATIVES.items():
        policy = base.model_copy(update={"probability_floor": None, **change})
        if policy != base and policy.top_k <= head_size:
            found[name] = policy
    return found
