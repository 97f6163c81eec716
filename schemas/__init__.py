"""The contract between the stages: what a dump is, and nothing about models.

Needs numpy, pyarrow, pydantic and fsspec only, imports nothing else of potstill, and may be
vendored as a folder by whoever only wants to read a dump. FORMAT.md beside this file is the
authority on the format.
"""

PROJECT = "potstill"
"""The other packages check this at import, since `schemas` is a common name."""
