"""Sums of losses that are tested together."""

MIXES = {
    "fkl": [("fkl", 1.0, 1.0, "sample")],
    "bucket": [("fkl", 1.0, 1.0, "bucket")],
    "none": [("fkl", 1.0, 1.0, "none")],
    "renormalise": [("fkl", 1.0, 1.0, "renormalise")],
    "warm": [("fkl", 1.0, 2.0, "sample")],
    "warm bucket": [("fkl", 1.0, 2.0, "bucket")],
    "ce": [("ce", 1.0, 1.0, "none")],
    "mix": [("fkl", 0.7, 1.0, "sample"), ("ce", 0.3, 1.0, "none")],
    "mix bucket": [("fkl", 0.7, 1.0, "bucket"), ("ce", 0.3, 1.0, "none")],
    "warm mix": [("fkl", 0.7, 2.0, "sample"), ("ce", 0.3, 1.0, "none")],
    "warm mix bucket": [("fkl", 0.7, 2.0, "bucket"), ("ce", 0.3, 1.0, "none")],
}
