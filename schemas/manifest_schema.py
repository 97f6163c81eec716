"""manifest.schema.json, for readers in other languages; `python -m` of this file writes it anew."""

import json
from pathlib import Path

from schemas.manifest import Manifest

FILE = Path(__file__).with_name("manifest.schema.json")


def manifest_schema() -> bytes:
    """The JSON Schema of manifest.json, as the file beside this one holds it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(),
    }
    return (json.dumps(schema, indent=1, ensure_ascii=False) + "\n").encode()


if __name__ == "__main__":
    FILE.write_bytes(manifest_schema())
