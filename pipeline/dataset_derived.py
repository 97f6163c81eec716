"""What a dump that is made out of others says about itself; FORMAT.md section 11."""

from collections.abc import Mapping, Sequence

from schemas.codecs import rounding_of
from schemas.dump_folder import DumpFolder
from schemas.licences import Stated, joint_conditions
from schemas.manifest import (
    Capture,
    Corpus,
    Derived,
    Generation,
    Limits,
    Manifest,
    Setting,
    Settings,
    Source,
    Step,
    digest,
    settings_of,
)


def derived_settings(
    dumps: Sequence[DumpFolder], operation: str, arguments: Mapping[str, object]
) -> Settings:
    """The settings of a dump that one operation makes of `dumps`; the first one's capture policy.

    `arguments` that are unset are left out; lists are written with commas.
    """
    manifests = [dump.manifest for dump in dumps]
    sources = list({s.identity: s for m in manifests for s in sources_of(m)}.values())
    steps: list[Step] = []
    for manifest in manifests:
        held = manifest.derived.steps if manifest.derived else []
        steps += [step for step in held if step not in steps]
    own = Step.model_validate(
        {
            "operation": operation,
            "arguments": {n: _plain(v) for n, v in arguments.items() if _given(v)},
            "inputs": [manifest.identity for manifest in manifests],
        }
    )
    changes: dict[str, object] = {
        "derived": Derived(steps=[*steps, own], sources=sources),
        "codec": rounding_of(manifests[0].codec),
        "ranking": None,
    }
    if len(manifests) > 1:
        changes |= {
            "teacher": manifests[0].teacher.model_copy(update=_teacher_terms(sources)),
            "corpus": _corpus(sources),
            "limits": _limits(sources),
            "generation": _generation(sources),
        }
    return settings_of(manifests[0]).model_copy(update=changes)


def sources_of(manifest: Manifest) -> list[Source]:
    """The dumps that a teacher made and whose rows this one holds: itself, if it is such."""
    if manifest.derived is not None:
        return manifest.derived.sources
    own = {name: getattr(manifest, name) for name in Source.model_fields}
    return [Source(**own)]


def without_hidden(capture: Capture) -> Capture:
    """The policy without hidden states."""
    unset = {n: f.get_default() for n, f in Capture.model_fields.items() if n.startswith("hidden_")}
    return capture.model_copy(update=unset | {"hidden_layers": []})


def _teacher_terms(sources: Sequence[Source]) -> dict[str, object]:
    terms = {source.teacher.output_terms for source in sources} - {None}
    return {
        "license": _license([source.teacher.license for source in sources]),
        "output_terms": " / ".join(sorted(map(str, terms))) or None,
    }


def _corpus(sources: Sequence[Source]) -> Corpus:
    corpora = [source.corpus for source in sources]
    first = corpora[0]
    alike = all(corpus.columns == first.columns for corpus in corpora)
    templates = {corpus.prompt_template for corpus in corpora}
    return Corpus(
        name=" + ".join(dict.fromkeys(corpus.name for corpus in corpora)),
        fingerprint=digest([corpus.fingerprint for corpus in corpora]),
        rows=sum(corpus.rows for corpus in corpora),
        license=_license([corpus.license for corpus in corpora]),
        columns=first.columns if alike else {},
        prompt_template=first.prompt_template if len(templates) == 1 else None,
    )


def _limits(sources: Sequence[Source]) -> Limits:
    longest = max(source.limits.max_length for source in sources)
    return sources[0].limits.model_copy(update={"max_length": longest})


def _generation(sources: Sequence[Source]) -> Generation | None:
    first = sources[0].generation
    return first if all(source.generation == first for source in sources) else None


def _license(licenses: Sequence[str]) -> str:
    """One name only where all are the same."""
    return joint_conditions(
        Stated(role="part", name=str(number), license=license)
        for number, license in enumerate(licenses)
    ).license


def _given(value: object) -> bool:
    return value not in (None, [], ())


def _plain(value: object) -> Setting:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, int | float | bool) else str(value)
