"""Which potstill this is."""

from importlib.metadata import PackageNotFoundError, version

ISSUES = "https://github.com/potstill/potstill/issues"


def program_version() -> str:
    """The installed version; "unknown" where the sources are used without an installation."""
    try:
        return version("potstill")
    except PackageNotFoundError:
        return "unknown"
