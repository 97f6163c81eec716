"""What a dump says about its teacher, found out without loading the weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from schemas.errors import ModelError
from schemas.manifest import Teacher
from stage1_teacher.teacher_folder import locate_teacher, weights_fingerprint

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherFacts:
    """A teacher as far as its configuration and files tell.

    Attributes:
        folder: where its files are.
        name: its hub name, or its folder's own name.
        revision: the hub's commit, or None for a folder.
        architecture: the class that runs it: LlamaForCausalLM, ….
        parameters: how many, tied ones counted once.
        quantization: the method that its weights are stored in, or None.
        head_size: number of logits per position; padded heads are wider than the tokenizer.
        hidden_size: width of its hidden states.
        layers: number of layers; hidden states 0 to `layers` can be captured.
        context: longest sequence in tokens, or None when the configuration does not say.
    """

    folder: Path
    name: str
    revision: str | None
    architecture: str
    parameters: int
    quantization: str | None
    head_size: int
    hidden_size: int
    layers: int
    context: int | None

    def manifest(self, dtype: Dtype, license: str, output_terms: str | None = None) -> Teacher:
        """The manifest's entry, weights hashed."""
        return Teacher(
            name=self.name,
            revision=self.revision,
            weights=weights_fingerprint(self.folder),
            architecture=self.architecture,
            parameters=self.parameters,
            dtype=dtype,
            quantization=self.quantization,
            license=license,
            output_terms=output_terms,
        )


def teacher_facts(
    model: str | Path, revision: str | None = None, trust_remote_code: bool = False
) -> TeacherFacts:
    """Looks at a teacher without loading its weights.

    Raises:
        ModelError: it does not exist, or is not a causal language model that transformers knows.
    """
    folder = locate_teacher(model, revision)
    config = read_config(folder, trust_remote_code)
    skeleton = teacher_skeleton(folder, config, trust_remote_code)
    text = config.get_text_config()
    head = skeleton.get_output_embeddings()
    on_hub = not Path(model).expanduser().is_dir()
    return TeacherFacts(
        folder=folder,
        name=str(model) if on_hub else folder.resolve().name,
        revision=folder.name if on_hub else revision,
        architecture=type(skeleton).__name__,
        parameters=skeleton.num_parameters(),
        quantization=_quantization(config),
        head_size=head.weight.shape[0],
        hidden_size=text.hidden_size,
        layers=text.num_hidden_layers,
        context=getattr(text, "max_position_embeddings", None),
    )


def read_config(folder: Path, trust_remote_code: bool) -> Any:
    """The transformers configuration in a folder.

    Raises:
        ModelError: it is broken, of an unknown type, or needs code that is not trusted.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(explain_load(folder, error)) from error


def explain_load(folder: Path, error: Exception) -> str:
    """What transformers' refusal of a model means, and what to do."""
    reason = " ".join(str(error).split())
    if "trust_remote_code" in reason:
        return (
            f"the teacher in {folder} runs Python code that comes with it. "
            "Read that code, then give --trust-remote-code."
        )
    return (
        f"transformers cannot load the teacher in {folder}: {reason[:300]} "
        "Give a causal language model of an architecture that transformers knows."
    )


def teacher_skeleton(folder: Path, config: Any, trust_remote_code: bool) -> Any:
    """The model that a configuration makes, without memory for its weights.

    Raises:
        ModelError: the configuration cannot be used, or the model has no output head.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(explain_load(folder, error)) from error
    if model.get_output_embeddings() is None:
        raise ModelError(
            f"the model in {folder} ({type(model).__name__}) has no output head over a vocabulary. "
            "Give a causal language model."
        )
    return model


def _quantization(config: Any) -> str | None:
    method = getattr(config, "quantization_config", None)
    if method is None:
        return None
    found = method.get("quant_method") if isinstance(method, dict) else method.quant_method
    return str(getattr(found, "value", found))
