"""The student before training: a checkpoint, layers carved out of one, or random weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from schemas.dump_folder import DumpFolder
from schemas.errors import ConfigError, ModelError
from stage2_student.adapter import CONFIG, base_of, loaded_over
from stage2_student.carve import carved_config, kept_tensors, layer_list
from stage2_student.settings import TrainSettings
from stage2_student.student_config import read_config_file
from stage2_student.student_source import Source, locate_student
from stage2_student.student_tokenizer import dump_tokenizer, own_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Student:
    """A model to train and what belongs to it.

    Attributes:
        model: a transformers causal language model with float32 weights, on the CPU.
        tokenizer: a transformers tokenizer; its ids are the dump's.
        source: the checkpoint that the weights came from; None for one from scratch.
    """

    model: Any
    tokenizer: Any
    source: Source | None

    @property
    def vocabulary(self) -> int:
        """Rows of the output head."""
        return int(self.model.get_output_embeddings().weight.shape[0])


def open_student(settings: TrainSettings, dump: DumpFolder) -> Student:
    """Loads, carves or makes the student that the settings describe, and checks it.

    Args:
        settings: what the student starts from.
        dump: what it will be trained on; of several dumps any, since they agree.

    Raises:
        ModelError: it cannot be loaded, or its vocabulary is too small for the dump.
        MismatchError: its tokenizer is not the dump's.
        ConfigError: its configuration, or a layer to keep, is wrong.
    """
    if settings.student is None:
        student = _from_scratch(settings, dump)
    else:
        student = _from_checkpoint(settings, dump)
    _check_vocabulary(student, dump)
    return student


def reopen_student(checkpoint: Path, source: Source | None, trust_remote_code: bool) -> Student:
    """The student as a checkpoint of its training holds it; where it came from is not needed.

    Raises:
        ModelError: the checkpoint cannot be loaded.
    """
    from transformers import AutoTokenizer

    with _explaining(checkpoint):
        model = _loaded(checkpoint, trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint, local_files_only=True, trust_remote_code=trust_remote_code
        )
    return Student(model=model, tokenizer=tokenizer, source=source)


def _from_scratch(settings: TrainSettings, dump: DumpFolder) -> Student:
    from transformers import AutoModelForCausalLM

    path = Path(settings.student_config or "").expanduser()
    config = read_config_file(path, dump.manifest.tokenizer)
    tokenizer = dump_tokenizer(dump, settings.dump_chat_template)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        try:
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"no model can be made of {path}: {reason} Correct the sizes in it."
            ) from error
    return Student(model=model, tokenizer=tokenizer, source=None)


def _from_checkpoint(settings: TrainSettings, dump: DumpFolder) -> Student:
    source = locate_student(settings.student or "")
    tokenizer = own_tokenizer(source.folder, dump, settings.trust_remote_code)
    if tokenizer is None:
        tokenizer = dump_tokenizer(dump, settings.dump_chat_template)
    with _explaining(source.folder):
        if (source.folder / CONFIG).is_file():
            model = _over_base(source.folder, settings)
        elif settings.student_layers:
            model = _carved(source, settings)
        else:
            model = _loaded(source.folder, settings.trust_remote_code)
    return Student(model=model, tokenizer=tokenizer, source=source)


def _over_base(folder: Path, settings: TrainSettings) -> Any:
    """An adapter merged into the model that it belongs to."""
    if settings.student_layers:
        raise ConfigError(
            f"{folder} holds an adapter, whose layers cannot be carved. Merge it first: train it "
            "without --keep-adapter."
        )
    base = locate_student(base_of(folder)).folder
    return loaded_over(_loaded(base, settings.trust_remote_code), folder)


def _loaded(folder: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    _check_loaded(folder, info)
    return model


def _carved(source: Source, settings: TrainSettings) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    trust = {"trust_remote_code": settings.trust_remote_code}
    config = AutoConfig.from_pretrained(source.folder, local_files_only=True, **trust)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config, **trust)
    name, layers = layer_list(skeleton), settings.student_layers
    model, info = type(skeleton).from_pretrained(
        None,
        config=carved_config(config, layers, name),
        state_dict=dict(kept_tensors(source.folder, layers, name)),
        dtype=torch.float32,
        output_loading_info=True,
    )
    _check_loaded(source.folder, info)
    if (source.folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(source.folder)
    return model


def _check_loaded(folder: Path, info: Any) -> None:
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        names = [str(name) for name in info.get(problem) or ()]
        if names:
            raise ModelError(
                f"the checkpoint in {folder} does not fill the model: {problem.replace('_', ' ')} "
                f"{', '.join(sorted(names)[:3])}. Take a complete checkpoint of a causal language "
                "model."
            )


def _check_vocabulary(student: Student, dump: DumpFolder) -> None:
    """Ids from the tokenizer's size up to the teacher's head are padding that is never kept."""
    head = student.model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        raise ModelError(
            f"the output head of {type(student.model).__name__} is a {type(head).__name__}; "
            "training needs an ordinary linear one. Take an unquantised checkpoint."
        )
    needed = dump.manifest.tokenizer.size
    if student.vocabulary < needed:
        raise ModelError(
            f"the student's vocabulary has {student.vocabulary} entries, and ids in {dump.url} go "
            f"up to {needed - 1}. Take a student with at least {needed}."
        )


@contextmanager
def _explaining(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())
        if "trust_remote_code" in reason:
            raise ModelError(
                f"the student in {folder} runs Python code that comes with it. Read that code, "
                "then give --trust-remote-code."
            ) from error
        raise ModelError(
            f"transformers cannot load the student in {folder}: {reason[:300]} Give a causal "
            "language model of an architecture that transformers knows."
        ) from error
