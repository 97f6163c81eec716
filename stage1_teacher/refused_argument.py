"""The refusal of an argument that a parser or a verifier has no use for."""

from schemas.errors import ConfigError


def refuse_argument(kind: str, name: str, argument: str | None) -> None:
    """Refuses an argument for the `kind` (parser, verifier) of that name.

    Raises:
        ConfigError: there is one.
    """
    if argument is not None:
        raise ConfigError(
            f"the {kind} {name} takes no argument, found {argument!r}. Leave --{kind}-argument out."
        )
