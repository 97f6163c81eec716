"""What the `potstill dataset` commands show at their end."""

from dataclasses import asdict

from pipeline.command import Call
from pipeline.dataset_making import Made
from pipeline.dataset_moves import Moved
from pipeline.facts import facts


def show(call: Call, made: Made) -> int:
    """The new dump in figures; gives the exit code."""
    rows = {
        "dump": made.path,
        "identity": made.identity,
        "holds": f"{made.rows:,} sequences, {made.tokens:,} tokens, {made.positions:,} positions",
        "size": f"{made.bytes:,} bytes in {made.shards:,} shards, "
        f"{made.bytes / max(1, made.tokens):.1f} bytes a token",
    }
    left_out = [f"{count:,} {reason}" for reason, count in made.left_out.items() if count]
    if left_out:
        rows["left out"] = "; ".join(left_out)
    for note in made.notes:
        call.output.note(note)
    call.output.result(asdict(made), facts(rows))
    call.output.next(
        {
            "prove it whole": f"potstill verify {made.path}",
            "train a student from it": f"potstill train --dump {made.path} --student MODEL "
            "--out student",
        }
    )
    return 0


def show_moved(call: Call, moved: Moved) -> int:
    """What was copied; gives the exit code."""
    did = "would be copied" if moved.dry_run else "copied"
    rows = {
        "from": moved.source,
        "to": moved.target,
        "identity": moved.identity,
        "files": f"{len(moved.copied):,} of {moved.files:,} {did}, {moved.bytes:,} bytes",
    }
    call.output.result(asdict(moved), facts(rows))
    if not moved.dry_run:
        line = f"potstill verify {moved.target}"
        call.output.next({"prove the copy whole": line})
    return 0
