"""Everything a user can say to `potstill nightly`: the settings of a dump, and of the night."""

from typing import Self

from pydantic import ConfigDict, Field, SecretStr, model_validator

from schemas.errors import ConfigError
from stage1_teacher.settings import DumpSettings


class NightlySettings(DumpSettings):
    """What to dump every night, and whom to tell."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    out: str = Field(
        min_length=1,
        description="A local folder: every night's dump is a folder in it, named after the day.",
    )
    limit: int | None = Field(
        None, ge=1, description="Dump at most so many new rows a night; the rest comes later."
    )
    keep_work: int = Field(
        3, ge=0, description="Nights whose new rows are kept as a file after their dump is done."
    )
    webhook: SecretStr | None = Field(
        None,
        description="Address that gets the status as one JSON POST at the end. It is written to "
        "no log; better give it as POTSTILL_NIGHTLY_WEBHOOK.",
    )

    @model_validator(mode="after")
    def _fits_the_night(self) -> Self:
        if "://" in self.out:
            raise ConfigError(
                f"out must be a local folder: what was dumped before is found there; found "
                f"{self.out}. Push the finished dumps with `potstill dataset push`."
            )
        address = self.webhook.get_secret_value() if self.webhook else "https://"
        if not address.startswith(("https://", "http://")):
            raise ConfigError("webhook must be an http(s) address. Give one, or leave it out.")
        return self

    def of_dump(self, corpus: str, out: str, corpus_license: str | None) -> DumpSettings:
        """The settings of one night's dump: of the file of its new rows."""
        given = {name: getattr(self, name) for name in DumpSettings.model_fields}
        mine = {"corpus": corpus, "out": out, "corpus_license": corpus_license}
        hub = {"limit": None, "subset": None, "split": "train"}
        return DumpSettings(**{**given, **mine, **hub})
