"""Every campaign on one screen: a line each of the table in docs/reliability.md."""

from tests.reliability.campaign import Campaign
from tests.reliability.flips import flips
from tests.reliability.fuzz import fuzz, mutants
from tests.reliability.hostile import hostile
from tests.reliability.interleavings import interleavings
from tests.reliability.io_errors import disk_full, io_errors
from tests.reliability.kills import kills
from tests.reliability.power_loss import power_loss
from tests.reliability.races import races
from tests.reliability.s3_faults import s3_faults
from tests.reliability.scale import scale
from tests.reliability.seeded_defects import seeded_defects
from tests.reliability.worker_kills import worker_kills

CAMPAIGNS: dict[str, Campaign] = {
    "kills": Campaign(
        says="SIGKILL at every call of joining, unit, snapshot, finalising and tidying up; the "
        "worker that recovers killed at every call, too",
        run=kills,
        least={"pr": 10_000, "nightly": 100_000, "release": 400_000},
    ),
    "power_loss": Campaign(
        says="loss of power after every call: all subsets of what was not yet synced",
        run=power_loss,
        least={"pr": 20_000, "nightly": 20_000, "release": 20_000},
    ),
    "interleavings": Campaign(
        says="all orders of two workers, finaliser and reader with ≤ 2 faults and ≤ 1 death",
        run=interleavings,
        least={"pr": 10_000, "nightly": 100_000, "release": 100_000},
    ),
    "io_errors": Campaign(
        says="every call × every error of its manual page, before and after it, once and from "
        "then on",
        run=io_errors,
        least={"pr": 5_000, "nightly": 5_000, "release": 5_000},
    ),
    "disk_full": Campaign(
        says="disks with room for some of the bytes, or some of the names",
        run=disk_full,
        least={"pr": 400, "nightly": 2_000, "release": 4_000},
    ),
    "s3_faults": Campaign(
        says="every request to S3 × every refusal, lost, cut or late answer, against moto",
        run=s3_faults,
        least={"pr": 150, "nightly": 500, "release": 500},
    ),
    "races": Campaign(
        says="64 processes race for one unit; 64 write a dump while half of them are killed; a "
        "store that looks and then writes must be seen to fail",
        run=races,
        least={"pr": 15, "nightly": 250, "release": 1_200},
    ),
    "worker_kills": Campaign(
        says="real worker processes killed at random moments; samples equal to the byte",
        run=worker_kills,
        least={"pr": 500, "nightly": 5_000, "release": 20_000},
    ),
    "flips": Campaign(
        says="single bits of shards, manifest, records, plan and snapshot; cuts; swapped shards",
        run=flips,
        least={"pr": 150_000, "nightly": 290_000, "release": 320_000},
    ),
    "fuzz": Campaign(
        says="fuzzed manifests, plans, records, JSON lines, YAML and shard names: errors of ours "
        "or nothing",
        run=fuzz,
        least={"pr": 200_000, "nightly": 1_000_000, "release": 4_000_000},
    ),
    "mutants": Campaign(
        says="mutated Parquet files, read in a child with limits",
        run=mutants,
        least={"pr": 2_000, "nightly": 20_000, "release": 100_000},
    ),
    "hostile": Campaign(
        says="hostile dumps: each refused within 2 s and 512 MB, with nothing read, written, run "
        "or connected to outside of it",
        run=hostile,
        least={"pr": 60, "nightly": 60, "release": 60},
    ),
    "seeded_defects": Campaign(
        says="defects put into the program on purpose: each must be caught by a campaign",
        run=seeded_defects,
        least={"pr": 25, "nightly": 25, "release": 25},
    ),
    "scale": Campaign(
        says="memory of writer and reader beside dumps of one and ten sizes; a ledger of many "
        "shards",
        run=scale,
        least={"pr": 1, "nightly": 1, "release": 1},
    ),
}
