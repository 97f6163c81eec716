"""Personal data found by presidio and replaced by what it is: `<EMAIL_ADDRESS>`.

Presidio finds by pattern (addresses, numbers, accounts) without any model, and names and places
with a spaCy model that the user names; nothing is downloaded here.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from schemas.errors import ConfigError

ALL = "all"
_PACKAGE = "presidio-analyzer"


def scrubber_name(model: str | None, language: str) -> str:
    """Program, version, model and language, for the manifest: they decide what is found.

    Raises:
        ConfigError: presidio is not installed.
    """
    return f"presidio {_version()}, {model or 'patterns only'}, {language}"


def open_scrubber(
    entities: Sequence[str], model: str | None, language: str
) -> Callable[[str], str]:
    """The function that replaces personal data in a text.

    Args:
        entities: presidio's names, or `all`.
        model: an installed spaCy model; None to find by pattern only.
        language: of the texts.

    Raises:
        ConfigError: presidio or the model is missing, or an entity is unknown to them.
    """
    _version()
    analyzer = _analyzer(model, language)
    known = sorted(analyzer.get_supported_entities(language))
    wrong = [name for name in entities if name != ALL and name not in known]
    if wrong:
        raise ConfigError(
            f"scrub {wrong[0]}: presidio finds no such thing in {language} "
            f"{f'with {model}' if model else 'by pattern alone (see --scrub-model)'}; it finds "
            f"{', '.join(known)}."
        )
    wanted = None if ALL in entities else list(entities)

    def scrub(text: str) -> str:
        if not text.strip():
            return text
        return _replaced(text, analyzer.analyze(text=text, language=language, entities=wanted))

    return scrub


def _replaced(text: str, found: Sequence[Any]) -> str:
    """From the left; where findings overlap, the surer, then the longer one."""
    chosen: list[Any] = []
    for item in sorted(found, key=lambda r: (-r.score, r.start - r.end, r.start)):
        if all(item.end <= other.start or item.start >= other.end for other in chosen):
            chosen.append(item)
    parts, end = [], 0
    for item in sorted(chosen, key=lambda r: r.start):
        parts += [text[end : item.start], f"<{item.entity_type}>"]
        end = item.end
    return "".join([*parts, text[end:]])


def _analyzer(model: str | None, language: str) -> Any:
    presidio: Any = import_module("presidio_analyzer")
    spacy: Any = import_module("spacy")
    _stay_offline()
    try:
        pipeline = spacy.blank(language) if model is None else spacy.load(model)
    except (OSError, ImportError) as error:
        what = f"the language {language!r}" if model is None else f"the spaCy model {model}"
        raise ConfigError(
            f"scrub: {what} is not there: {str(error).splitlines()[0]} Install it "
            f"(`python -m spacy download {model or 'MODEL'}`), or give another one."
        ) from error
    engine = presidio.nlp_engine.SpacyNlpEngine(
        models=[{"lang_code": language, "model_name": model or "blank"}]
    )
    engine.nlp = {language: pipeline}
    registry = presidio.RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language], nlp_engine=engine)
    if model is None:
        registry.remove_recognizer("SpacyRecognizer")
    return presidio.AnalyzerEngine(
        registry=registry, nlp_engine=engine, supported_languages=[language]
    )


def _stay_offline() -> None:
    """Keeps a library of presidio's from fetching the list of endings of mail addresses."""
    found: Any = import_module("tldextract.tldextract")
    found.TLD_EXTRACTOR = found.TLDExtract(suffix_list_urls=(), cache_dir=None)


def _version() -> str:
    try:
        return version(_PACKAGE)
    except PackageNotFoundError as error:
        raise ConfigError(
            "scrub needs presidio, which is not installed. Install it: pip install "
            "'potstill[scrub]'"
        ) from error
