"""Quality against bytes: what each capture policy keeps of a real teacher's distributions.

The audit of `potstill verify --gold`, its figures written down: codec KL, tail mass error, error of
the distillation gradient at a position and of its mean, bytes per token. Run as

    potstill dump … --gold 16 --out DUMP
    python -m benchmarks.policies --dump DUMP

The bytes are of the gold sequences alone: small shards compress a little worse than large ones.
"""

import argparse
from dataclasses import asdict

from benchmarks.machine import write_result
from pipeline.gold_audit import audit
from schemas.dump_folder import open_dump


def main() -> None:
    """Audits, prints a line per policy and writes results/policies.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dump", required=True)
    dump = open_dump(parser.parse_args().dump)
    found = audit(dump)
    for row in found.policies:
        print(
            f"{row.name:<24}{row.bytes_per_token:8.1f} B/token  KL {row.kl_mean:.1e}  gradient "
            f"{row.gradient_error:.3f}, of the mean {row.mean_gradient_error:.4f}"
        )
    teacher = dump.manifest.teacher
    about = {"teacher": teacher.name, "dtype": teacher.dtype, "corpus": dump.manifest.corpus.name}
    result = {**about, **asdict(found)}
    del result["url"]
    print("written:", write_result("policies", result))


if __name__ == "__main__":
    main()
