"""`potstill examples`: configuration files to start from."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.command import Call, Spec


class ExamplesSettings(BaseModel):
    """Which example, and where to."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str | None = Field(None, description="The example; without it they are listed.")
    out: str | None = Field(None, description="Write it to this file, which must not exist yet.")


def run(call: Call) -> int:
    """Lists the examples, prints one, or writes one."""
    from pipeline.examples import about, names, read
    from pipeline.facts import facts

    name, out = call.settings.name, call.settings.out
    if name is None:
        found = {each: about(each) for each in names()}
        call.output.result(found, facts(found))
        call.output.next({"start from one": "potstill examples train.yaml > train.yaml"})
        return 0
    text = read(name)
    if out is not None:
        _write(Path(out), text)
        call.output.result({"written": out}, facts({"written": out}))
    elif call.output.json:
        call.output.result({"name": name, "text": text})
    else:
        call.output.text(text)
    return 0


def _write(path: Path, text: str) -> None:
    from schemas.errors import ConflictError
    from schemas.storage import explain

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConflictError(f"{path} exists already. Remove it, or choose another --out.") from None
    except OSError as error:
        raise explain(error, path) from error


SPEC = Spec(
    name="examples",
    help="Lists the configuration files that come with potstill, or prints one.",
    examples=("potstill examples", "potstill examples train > train.yaml"),
    model=ExamplesSettings,
    panels={"Where to": ("out",)},
    positional="name",
    file_by_name=False,
    run=run,
)
