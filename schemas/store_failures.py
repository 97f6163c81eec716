"""What the clients of object stores and hubs raise, as errors that a user can act on.

Their errors belong to many libraries, of which none is imported here, and most are no OSError. So
they are told by the libraries and names of their classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import InputError, PotstillError, TemporaryError

_LIBRARIES = {
    *("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "azure", "adlfs"),
    *("huggingface_hub", "hf_xet", "httpx", "httpx2", "httpcore", "requests", "urllib3"),
}
_CREDENTIALS = ("Credential", "Token", "ProfileNotFound")
_REFUSED = {401, 403}
CREDENTIALS_ADVICE = (
    "Give the store's client credentials in its own way, such as AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or `hf auth login`."
)


def store_failure(error: BaseException, where: str) -> PotstillError | None:
    """The error to raise instead; None when this is no store's failure.

    Args:
        error: as the client raised it.
        where: what was to be read, for the text.
    """
    if isinstance(error, PotstillError | FileNotFoundError):
        return None
    if lacks_credentials(error):
        return InputError(
            f"{where} needs credentials, and none work: {error}. {CREDENTIALS_ADVICE}"
        )
    if refuses(error):
        return InputError(f"{where} may not be read: {error}. {CREDENTIALS_ADVICE}")
    if _foreign(error) or isinstance(error, ConnectionError | TimeoutError):
        return TemporaryError(f"{where} could not be read: {error}. Try again later.")
    return None


def lacks_credentials(error: BaseException) -> bool:
    """Whether a client found none, or none that work."""
    return any(word in name for name in _foreign(error) for word in _CREDENTIALS)


def refuses(error: BaseException) -> bool:
    """Whether a store forbids it."""
    unnamed = isinstance(error, PermissionError) and error.filename is None  # no local file's
    return unnamed or _status(error) in _REFUSED


def is_foreign(error: BaseException) -> bool:
    """Whether it is of a store's client."""
    return bool(_foreign(error))


def _foreign(error: BaseException) -> list[str]:
    kinds = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__]
    return [name for library, name in kinds if library in _LIBRARIES]


@contextmanager
def store_failures(where: str) -> Iterator[None]:
    """Raises what `store_failure` makes of an error of its block.

    Raises:
        InputError: no or wrong credentials.
        TemporaryError: the store or the network failed.
    """
    try:
        yield
    except Exception as error:
        failure = store_failure(error, where)
        if failure is None:
            raise
        raise failure from error


def _status(error: BaseException) -> int | None:
    """The status of an HTTP answer, where the error holds one."""
    found = getattr(getattr(error, "response", None), "status_code", None)
    return found if isinstance(found, int) else None
