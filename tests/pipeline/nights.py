"""What nights leave behind, and the rows of their corpus."""

import json
from pathlib import Path

from schemas.dump_folder import open_dump


def text(n: int) -> dict[str, str]:
    return {"text": f"The stone finds {n} rivers and {n * n} gardens."}


def status(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "dumps/.nightly/status.json").read_text())


def texts_of(dump: Path) -> list[str]:
    """What the dump's rows say, by their own tokenizer."""
    from tokenizers import Tokenizer

    found = open_dump(str(dump))
    decode = Tokenizer.from_str(found.read_text("tokenizer/tokenizer.json")).decode
    files = [found.shard_file(shard) for shard in found.shards if shard.rows]
    ids = [i for file in files for i in file.read(columns=["input_ids"])["input_ids"].to_pylist()]
    return [decode(row) for row in ids]


def wanted(numbers) -> list[str]:
    return [text(n)["text"] for n in numbers]
