"""The names inside a dump. No other name is ever taken from a dump's own files."""

import re

MANIFEST = "manifest.json"
CARD = "README.md"
TOKENIZER = "tokenizer"
DATA = "data"
HIDDEN = "hidden"
PREVIEW = "preview"
PROJECTION = "projection.npy"
RANKING = "ids.npy"
GOLD = "gold"
GOLD_INFO = f"{GOLD}/gold.json"
GOLD_HEAD = f"{GOLD}/head.parquet"
GOLD_STATES = f"{GOLD}/states.parquet"
WORK = ".potstill"
PLAN = f"{WORK}/plan.json"
COMMITS = f"{WORK}/commits"
ATTEMPTS = f"{WORK}/attempts"
LEDGER = f"{WORK}/ledger"
LEDGER_PARTS = "ledger"
LEASES = f"{WORK}/leases"
PROBES = f"{WORK}/probes"
CONTROL = f"{WORK}/control.json"
SET_ASIDE = f"{WORK}/set_aside"
SET_ASIDE_FILE = f"{WORK}/set_aside.jsonl"

RECORD_NAME = re.compile(r"^(?P<unit>\d+)\.json$")
ATTEMPT_NAME = re.compile(r"^(?P<unit>\d+)-(?P<attempt>[0-9a-f]+)\.json$")
LEDGER_NAME = re.compile(r"^(?P<version>\d+)\.json$")
SHARD_NAME = re.compile(r"^part-(?P<unit>\d+)-(?P<attempt>[0-9a-f]+)\.parquet$")


def shard_name(unit: int, attempt: str) -> str:
    """The name of one attempt at one unit: `part-000012-9f3c….parquet`."""
    return f"part-{unit:06d}-{attempt}.parquet"


def record_path(unit: int) -> str:
    """Where the commit record of a unit lies, spread over 256 folders by its last byte."""
    return f"{COMMITS}/{unit % 256:02x}/{unit:06d}.json"


def attempt_path(unit: int, write_id: str) -> str:
    """Where one attempt's record lies, on stores where nobody can create only if absent."""
    return f"{ATTEMPTS}/{unit % 256:02x}/{unit:06d}-{write_id}.json"


def ledger_part(name: str) -> str:
    """Where a file of a ledger lies that is too long for manifest.json."""
    return f"{LEDGER_PARTS}/{name}"


def ledger_path(version: int) -> str:
    """Where a ledger version of a growing dump lies; the highest is the newest."""
    return f"{LEDGER}/{version:08d}.json"
