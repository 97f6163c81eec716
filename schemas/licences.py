"""Licences of what went into a dump or a student, and what they ask for together.

Nothing here is legal advice: names are taken as their owners state them, what well-known licences
say about a model's outputs is put into words, and nothing is left out in silence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from schemas.manifest import Settings, Source

UNKNOWN = "unknown"
OTHER = "other"

NONCOMMERCIAL = "noncommercial"
SHARE_ALIKE = "share-alike"
NO_DERIVATIVES = "no-derivatives"
ATTRIBUTION = "attribution"
NAMING = "naming"
NO_TRAINING = "no-training"

DEMANDS: dict[str, str] = {
    UNKNOWN: "nobody said under which licence",
    NONCOMMERCIAL: "not for commercial purposes",
    SHARE_ALIKE: "what is made of it goes on under the same licence",
    NO_DERIVATIVES: "nothing made of it may be passed on",
    ATTRIBUTION: "its authors are named",
    NAMING: "a model trained on its outputs says so in its name or its documentation",
    NO_TRAINING: "its outputs may not improve other language models",
}
"""What a licence can ask for: words that `--forbid-license` takes besides licences' names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a well-known licence asks for.

    Attributes:
        demands: words of DEMANDS.
        terms: what it says of a model's outputs, in a sentence; empty: nothing.
    """

    demands: tuple[str, ...] = ()
    terms: str = ""


_LLAMA_3X = Known(
    demands=(ATTRIBUTION, NAMING),
    terms="a model that its outputs helped to make has a name that begins with Llama, shows "
    '"Built with Llama" and keeps to the acceptable use policy',
)
_LLAMA_OLD = Known(
    demands=(ATTRIBUTION, NO_TRAINING),
    terms="its outputs may not be used to improve any other large language model than Llama",
)
_GEMMA = Known(
    demands=(ATTRIBUTION, NAMING),
    terms="a model distilled from its outputs counts as a derivative of Gemma: Gemma's terms and "
    "its prohibited uses go on with it",
)
_QWEN = Known(
    demands=(ATTRIBUTION, NAMING),
    terms='a model that its outputs helped to make shows "Built with Qwen" or "Improved using '
    'Qwen" in its documentation',
)

KNOWN: tuple[tuple[str, Known], ...] = (
    *((name, Known(demands=(ATTRIBUTION,))) for name in ("apache-2.0", "mit", "bsd*", "isc")),
    *((name, Known()) for name in ("cc0-1.0", "unlicense", "pddl", "public-domain", "0bsd")),
    ("cc-by-nc-nd-*", Known(demands=(ATTRIBUTION, NONCOMMERCIAL, NO_DERIVATIVES))),
    ("cc-by-nc-sa-*", Known(demands=(ATTRIBUTION, NONCOMMERCIAL, SHARE_ALIKE))),
    ("cc-by-nc-*", Known(demands=(ATTRIBUTION, NONCOMMERCIAL))),
    ("cc-by-nd-*", Known(demands=(ATTRIBUTION, NO_DERIVATIVES))),
    ("cc-by-sa-*", Known(demands=(ATTRIBUTION, SHARE_ALIKE))),
    ("cc-by-*", Known(demands=(ATTRIBUTION,))),
    ("odc-by", Known(demands=(ATTRIBUTION,))),
    ("odbl", Known(demands=(ATTRIBUTION, SHARE_ALIKE))),
    *((name, Known(demands=(ATTRIBUTION, SHARE_ALIKE))) for name in ("gpl*", "agpl*", "lgpl*")),
    *((name, _LLAMA_OLD) for name in ("llama2", "llama3")),
    *((name, _LLAMA_3X) for name in ("llama3.*", "llama4")),
    ("gemma", _GEMMA),
    ("qwen-research", Known(demands=(*_QWEN.demands, NONCOMMERCIAL), terms=_QWEN.terms)),
    *((name, _QWEN) for name in ("qwen", "tongyi-qianwen*")),
)
"""The first pattern that a licence's name fits holds; names as the hub spells them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """One thing that went in, and the licence that its owner or the user stated for it.

    Attributes:
        role: teacher, corpus, base model, ….
        name: which one.
        license: as stated; `unknown` where nobody did.
        terms: terms of use of its outputs, as stated.
    """

    role: str
    name: str
    license: str
    terms: str | None = None

    @property
    def demands(self) -> tuple[str, ...]:
        """What its licence asks for, as far as it is well known."""
        if is_unknown(self.license):
            return (UNKNOWN,)
        found = known(self.license)
        return found.demands if found else ()

    @property
    def all_terms(self) -> str | None:
        """The terms as stated, else what its licence says of a teacher's outputs."""
        if self.terms or self.role != "teacher":
            return self.terms
        found = known(self.license)
        return found.terms if found and found.terms else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What holds for something made of several things.

    Attributes:
        license: their one licence; `other` where they differ, `unknown` where one is.
        stated: everything that went in, each once.
        demands: a line per word of DEMANDS that one of them asks for: "attribution (…): …".
        terms: a line per thing with terms of use of its outputs.
        conflicts: a line per pair of demands that hardly go together.
    """

    license: str
    stated: tuple[Stated, ...]
    demands: tuple[str, ...]
    terms: tuple[str, ...]
    conflicts: tuple[str, ...]


def is_unknown(license: str) -> bool:
    """Whether a licence is stated as not known."""
    return license.strip().lower() in ("", UNKNOWN)


def known(license: str) -> Known | None:
    """What is known of a licence, by its name as the hub spells it; None: nothing."""
    name = license.strip().lower()
    return next((found for pattern, found in KNOWN if fnmatchcase(name, pattern)), None)


def stated_in(settings: Settings) -> list[Stated]:
    """What a manifest or plan states: teacher and corpus, of every dump that it is made of."""
    held: Sequence[Settings | Source] = settings.derived.sources if settings.derived else [settings]
    return [
        part
        for one in held
        for part in (
            Stated(
                role="teacher",
                name=one.teacher.name,
                license=one.teacher.license,
                terms=one.teacher.output_terms,
            ),
            Stated(role="corpus", name=one.corpus.name, license=one.corpus.license),
        )
    ]


def joint_conditions(stated: Iterable[Stated]) -> Conditions:
    """What holds for everything that is made of `stated` together: a dump, a merge, a student."""
    parts = tuple(dict.fromkeys(stated))
    return Conditions(
        license=_one_license(parts),
        stated=parts,
        demands=tuple(_demand_lines(parts)),
        terms=tuple(
            f"{part.role} {part.name}: {part.all_terms}" for part in parts if part.all_terms
        ),
        conflicts=tuple(_conflicts(parts)),
    )


def forbidden(stated: Iterable[Stated], patterns: Sequence[str]) -> list[Stated]:
    """Those whose licence a pattern forbids.

    Args:
        stated: what went in.
        patterns: licences' names with `*`, of any case, or words of DEMANDS.
    """
    wanted = [pattern.strip().lower() for pattern in patterns]
    return [part for part in dict.fromkeys(stated) if any(_fits(part, p) for p in wanted)]


def _fits(part: Stated, pattern: str) -> bool:
    return pattern in part.demands or fnmatchcase(part.license.strip().lower(), pattern)


def _one_license(parts: Sequence[Stated]) -> str:
    names = {part.license.strip().lower(): part.license for part in parts}
    if any(is_unknown(name) for name in names) or not names:
        return UNKNOWN
    return next(iter(names.values())) if len(names) == 1 else OTHER


def _demand_lines(parts: Sequence[Stated]) -> Iterable[str]:
    for word, meaning in DEMANDS.items():
        who = [f"{part.role} {part.name}" for part in parts if word in part.demands]
        if who:
            yield f"{word} ({', '.join(who)}): {meaning}"
    strange = [
        f"{part.license} of {part.role} {part.name}"
        for part in parts
        if not is_unknown(part.license) and known(part.license) is None
    ]
    if strange:
        yield f"read it yourself: {', '.join(strange)}"


def _conflicts(parts: Sequence[Stated]) -> Iterable[str]:
    shared = {p.license.strip().lower(): p for p in parts if SHARE_ALIKE in p.demands}
    if len(shared) > 1:
        yield f"{' and '.join(p.license for p in shared.values())} each want to be the licence"
    for part in parts:
        for word in {NO_DERIVATIVES, NO_TRAINING} & set(part.demands):
            yield f"{part.license} of {part.role} {part.name}: {DEMANDS[word]}"
    narrower = [p for p in parts if {NONCOMMERCIAL, NO_TRAINING} & set(p.demands)]
    for one in shared.values():
        for other in narrower:
            if other.license != one.license and one not in narrower:
                yield (
                    f"{one.license} of {one.role} {one.name} allows every purpose for what is made "
                    f"of it, {other.license} of {other.role} {other.name} does not"
                )
