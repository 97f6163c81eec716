"""The licence that a corpus's own dataset card states."""

import logging

from stage1_teacher.corpus import Corpus
from stage1_teacher.corpus_files import folder_file

_CARD = "README.md"
_LOG = logging.getLogger(__name__)


def corpus_license(location: str, corpus: Corpus) -> str | None:
    """The licence in the front matter of a hub dataset's card or of a folder's README.md; or None.

    A file that lies beside other files has no card of its own.
    """
    text = _hub_card(corpus.name) if corpus.files is None else folder_file(location, _CARD)
    return None if text is None else license_in(text)


def license_in(card: str) -> str | None:
    """The licence that a dataset card's front matter names; several are joined by `and`."""
    from huggingface_hub import DatasetCard

    data = DatasetCard(card, ignore_metadata_errors=True).data
    found = data.get("license")
    if found == "other":
        found = data.get("license_name") or found
    names = found if isinstance(found, list) else [found]
    return " and ".join(str(name) for name in names if name) or None


def _hub_card(name: str) -> str | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        path = hf_hub_download(name, _CARD, repo_type="dataset")
    except (EntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        _LOG.info("the dataset card of %s cannot be read: %s", name, str(error).splitlines()[0])
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
