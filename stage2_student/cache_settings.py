"""Where what is read of dumps is kept: a part of the settings of `train` and `evaluate`."""

from pydantic import BaseModel, Field


class CacheSettings(BaseModel):
    """Dumps in a store are read once, if there is a place for them."""

    cache: str | None = Field(
        None,
        min_length=1,
        description="Keep what is read of dumps in a store in this local folder: what is read "
        "again then comes from the disk.",
    )
    cache_size: float = Field(
        20.0, gt=0, description="Gigabytes that --cache may hold; what was not read longest goes."
    )
