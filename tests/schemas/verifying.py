"""What `verify` says of a dump that is not right."""

from schemas.verify import verify
from tests.dumps import Dump


def problems(dump: Dump) -> str:
    found = verify(str(dump.path))
    assert not found.ok
    assert all(f.where and f.cure for f in found.findings)
    return " | ".join(f"{f.where}: {f.problem}" for f in found.findings)
