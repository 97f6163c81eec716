"""What manifest.json says of a ledger that is too long to stand in it."""

from typing import Annotated

from pydantic import Field

from schemas.strict_model import Count, Sha256, Strict


class LedgerPart(Strict):
    """One file under ledger/: so many lines of the ledger as Parquet, ascending by unit."""

    name: Annotated[str, Field(pattern=r"^[0-9a-f]{16}\.parquet$")]
    shards: Annotated[int, Field(ge=1)]
    bytes: Count
    sha256: Sha256
