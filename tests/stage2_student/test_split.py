"""The held-out rule: by document, stable, nested, near its share."""

from stage2_student.split import belongs_to, document_id, is_held_out


def test_the_rule_is_the_written_one() -> None:
    # sha256("holdout:doc-0")[:8] etc., computed once with another tool
    import hashlib

    for name in ("doc-0", "a/wb", "é"):
        first = int(hashlib.sha256(f"holdout:{name}".encode()).hexdigest()[:16], 16)
        fraction = first / 2**64
        assert is_held_out(name, fraction + 1e-9)
        assert not is_held_out(name, fraction - 1e-9)


def test_windows_of_a_text_stay_together() -> None:
    assert document_id("0123-7/w12") == "0123-7"
    assert document_id("0123-7/wide") == "0123-7/wide"
    for number in range(50):
        sides = {is_held_out(f"text-{number}/w{k}", 0.5) for k in range(5)}
        assert sides == {is_held_out(f"text-{number}", 0.5)}


def test_a_larger_share_contains_a_smaller_one() -> None:
    names = [f"n{i}" for i in range(4000)]
    small = {n for n in names if is_held_out(n, 0.05)}
    large = {n for n in names if is_held_out(n, 0.2)}
    assert small < large
    assert abs(len(large) / len(names) - 0.2) < 0.02


def test_edges_and_sides() -> None:
    assert not is_held_out("x", 0.0)
    assert is_held_out("x", 1.0)
    assert belongs_to("all", "x", 0.5)
    assert belongs_to("train", "x", 0.0)
    assert not belongs_to("held_out", "x", 0.0)
