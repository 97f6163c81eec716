"""The Hugging Face Hub as the place where a dump goes: `hf://datasets/<owner>/<name>[/<folder>]`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import InputError

_URL = re.compile(r"^hf://(?:(datasets)/)?([\w.-]+)/([\w.-]+)(?:/(.+?))?/?$")
_BATCH_FILES = 50
_BATCH_BYTES = 4 << 30
"""A commit's files; what was committed stays when a later one fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPlace:
    """A folder of a dataset repository."""

    repository: str
    folder: str

    def path(self, name: str) -> str:
        """The name inside the repository."""
        return f"{self.folder}/{name}" if self.folder else name


def hub_place(url: str) -> HubPlace | None:
    """What an hf:// URL names; None for other URLs.

    Raises:
        InputError: it names no dataset.
    """
    if not url.startswith("hf://"):
        return None
    found = _URL.match(url)
    if found is None or not found[1]:
        raise InputError(
            f"{url} names no dataset on the Hub. Give hf://datasets/OWNER/NAME, and a folder after "
            "it if several dumps share the repository."
        )
    return HubPlace(repository=f"{found[2]}/{found[3]}", folder=found[4] or "")


class HubTarget:
    """See `dataset_push.Place`; the repository is made with the first file."""

    def __init__(self, *, place: HubPlace, private: bool) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()  # there is one of ours
        self._api = HfApi()
        self._place = place
        self._private = private

    def sizes(self) -> dict[str, int]:
        """What is in the folder; nothing where there is no such repository."""
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

        start = f"{self._place.folder}/" if self._place.folder else ""
        try:
            tree = self._api.list_repo_tree(
                self._place.repository,
                self._place.folder or None,
                recursive=True,
                repo_type="dataset",
            )
            return {
                item.path.removeprefix(start): int(item.size)
                for item in tree
                if getattr(item, "size", None) is not None
            }
        except (RepositoryNotFoundError, EntryNotFoundError):
            return {}

    def read(self, name: str) -> bytes | None:
        """A small file of the folder."""
        path = self._api.hf_hub_download(
            self._place.repository, self._place.path(name), repo_type="dataset"
        )
        return Path(path).read_bytes()

    def put(self, files: Sequence[tuple[str, Path]]) -> Iterator[str]:
        """Commits the files in batches; the last file, by which the dump is complete, alone."""
        if not files:
            return
        self._api.create_repo(
            self._place.repository, repo_type="dataset", private=self._private, exist_ok=True
        )
        for batch in [*_batches(files[:-1]), list(files[-1:])]:
            self._commit(batch)
            yield from (name for name, _ in batch)

    def _commit(self, batch: Sequence[tuple[str, Path]]) -> None:
        from huggingface_hub import CommitOperationAdd

        operations: list[Any] = [
            CommitOperationAdd(path_in_repo=self._place.path(name), path_or_fileobj=str(path))
            for name, path in batch
        ]
        more = f" and {len(batch) - 1} more files" if len(batch) > 1 else ""
        self._api.create_commit(
            self._place.repository,
            operations,
            commit_message=f"Add {batch[0][0]}{more}",
            repo_type="dataset",
        )


def _batches(files: Sequence[tuple[str, Path]]) -> Iterator[list[tuple[str, Path]]]:
    batch: list[tuple[str, Path]] = []
    size = 0
    for name, path in files:
        own = path.stat().st_size
        if batch and (len(batch) == _BATCH_FILES or size + own > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((name, path))
        size += own
    if batch:
        yield batch
