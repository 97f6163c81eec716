"""A smaller dump of a dump, as far as its data allow."""

from collections.abc import Iterator

from pipeline.dataset_derived import derived_settings, without_hidden
from pipeline.dataset_folder import check_free
from pipeline.dataset_making import Made, Making, make_dump
from pipeline.dataset_policy import Change, changed
from pipeline.dataset_ranking import ranking_of
from pipeline.dataset_rows import Rows, Wanted, read_rows
from pipeline.dataset_settings import ReencodeSettings
from schemas.columns import shard_columns
from schemas.dump_folder import DumpFolder, open_dump
from schemas.errors import ConfigError, InputError
from schemas.manifest import Capture, Settings
from schemas.progress import Report, ignore
from schemas.ranking import RANKED, ranking_file, ranking_sha256


def reencode(settings: ReencodeSettings, report: Report = ignore) -> Made:
    """Makes a dump that keeps less per position.

    Raises:
        InputError: the dump does not hold what is asked for.
        ConfigError: nothing would change.
        ConflictError: there is something at `out`.
        DamagedError: a shard is bad.
    """
    check_free(settings.out)
    dump = open_dump(settings.dump)
    policy = smaller_policy(dump.manifest.capture, settings)
    if policy == dump.manifest.capture and settings.compact == bool(dump.manifest.ranking):
        raise ConfigError(
            f"{dump.url} is as asked for already. Give --top-k, --min-prob, --tail-samples or "
            "--temperatures, --compact, or --no-hidden where there are hidden states."
        )
    asked = settings.model_dump(exclude={"dump", "out", "shard_size"})
    target = derived_settings([dump], "reencode", asked)
    target = target.model_copy(update={"capture": policy})
    ranking = ranking_of(dump, report) if settings.compact else None
    if ranking is not None:
        found = ranking_sha256(ranking_file(ranking))
        target = target.model_copy(update={"codec": RANKED, "ranking": found})
    making = Making(
        out=settings.out,
        operation="reencode",
        model=dump,
        shard_mb=settings.shard_size,
        rows=sum(shard.rows for shard in dump.shards),
        ranking=ranking,
    )
    return make_dump(making, target, _rows(dump, target), report)


def _rows(dump: DumpFolder, target: Settings) -> Iterator[Rows]:
    capture = target.capture
    wanted = Wanted(
        columns=shard_columns(capture.temperatures, capture.optional_columns),
        hidden=bool(capture.hidden_layers),
    )
    steps = target.derived.steps if target.derived else []
    change = Change.of(dump.manifest.capture, capture, target.codec, salt=f"reencode {len(steps)}")
    for rows in read_rows(dump, wanted):
        yield Rows(table=changed(rows.table, change), hidden=rows.hidden)


def smaller_policy(old: Capture, asked: ReencodeSettings) -> Capture:
    """The policy asked for.

    Raises:
        InputError: a dump of the old policy does not hold it; says what it holds.
    """
    _check_entries(old, asked)
    _check_sample(old, asked)
    kept = old if asked.hidden else without_hidden(old)
    changes = {
        "min_prob": old.min_prob if asked.min_prob is None else asked.min_prob,
        "top_k": old.top_k if asked.top_k is None else asked.top_k,
        "tail_samples": old.tail_samples if asked.tail_samples is None else asked.tail_samples,
        "temperatures": _temperatures(old, asked),
    }
    return kept.model_copy(update=changes)


def _check_entries(old: Capture, asked: ReencodeSettings) -> None:
    if asked.top_k is not None and asked.top_k > old.top_k:
        raise InputError(
            f"the dump keeps at most {old.top_k} entries per position; --top-k {asked.top_k} asks "
            "for more. Give at most as many, or dump again with the teacher."
        )
    if asked.min_prob is not None and old.min_prob is not None and asked.min_prob < old.min_prob:
        raise InputError(
            f"the dump keeps entries of probability {old.min_prob:g} or more; --min-prob "
            f"{asked.min_prob:g} asks for smaller ones. Give a larger one, or dump again with the "
            "teacher."
        )


def _check_sample(old: Capture, asked: ReencodeSettings) -> None:
    held, wanted = old.tail_samples, asked.tail_samples
    if wanted in (None, 0, held):
        return
    if held % wanted:
        fitting = [str(n) for n in range(held, -1, -1) if n == 0 or (n and held % n == 0)]
        raise InputError(
            f"the dump holds {held} draws per unit of probability, of which --tail-samples "
            f"{wanted} is no whole part. Give one of {', '.join(fitting)}."
        )


def _temperatures(old: Capture, asked: ReencodeSettings) -> list[float]:
    absent = sorted(set(asked.temperatures) - set(old.temperatures) - {1.0})
    if absent:
        raise InputError(
            f"the dump does not hold temperature {absent[0]:g}; it holds "
            f"{', '.join(f'{t:g}' for t in old.temperatures)}. Ask for those, or dump again with "
            f"--temperatures {absent[0]:g}."
        )
    if not asked.temperatures:
        return old.temperatures
    return sorted({1.0, *asked.temperatures})
