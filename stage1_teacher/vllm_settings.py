"""What a user can say to vLLM, under vLLM's own names: a part of `DumpSettings`. No vllm, no torch.

All of it is optional, and refused for another engine. What decides the numbers is part of a dump's
plan; the knobs of memory and batching are only recorded beside it (stage1_teacher/vllm_options.py).
"""

from typing import Literal

from pydantic import BaseModel, Field

from schemas.errors import ConfigError
from schemas.manifest import Setting


class VllmSettings(BaseModel):
    """Options of the engine `vllm`; None leaves one to vLLM, or to the default named here."""

    engine_mode: Literal["auto", "capture", "compat"] | None = Field(
        None,
        description="How vLLM is read: capture reduces logits beside the model; compat uses its "
        "public interface, which is slower and gives less; auto takes compat only where this "
        "vLLM lacks what capture needs. Default: auto.",
    )
    head_dtype: Literal["float32", "model"] | None = Field(
        None,
        description="Precision of the output head under vLLM: float32, or that of the model. "
        "Default: float32.",
    )
    tensor_parallel_size: int | None = Field(
        None, ge=1, description="GPUs that share every layer of the teacher. Default: 1."
    )
    pipeline_parallel_size: int | None = Field(
        None, ge=1, description="Groups of GPUs that hold consecutive layers. Default: 1."
    )
    quantization: str | None = Field(
        None,
        min_length=1,
        description="vLLM's method of quantising the weights, such as fp8. Default: as the "
        "teacher's files are.",
    )
    kv_cache_dtype: str | None = Field(
        None, min_length=1, description="vLLM's type of the attention cache, such as fp8."
    )
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="Share of a GPU's memory that vLLM takes."
    )
    max_num_batched_tokens: int | None = Field(
        None, ge=1, description="Tokens of one step of vLLM. Default: --batch-tokens."
    )
    max_num_seqs: int | None = Field(
        None, ge=1, description="Sequences that vLLM has under way at once."
    )
    enforce_eager: bool | None = Field(
        None, description="Run vLLM without compilation and CUDA graphs: starts faster."
    )

    def vllm_options(self) -> dict[str, Setting]:
        """The options that were given, by vLLM's names; `engine_mode` is our own."""
        options: dict[str, Setting] = {
            "head_dtype": self.head_dtype,
            "tensor_parallel_size": self.tensor_parallel_size,
            "pipeline_parallel_size": self.pipeline_parallel_size,
            "quantization": self.quantization,
            "kv_cache_dtype": self.kv_cache_dtype,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "max_num_seqs": self.max_num_seqs,
            "enforce_eager": self.enforce_eager,
        }
        return {name: value for name, value in options.items() if value is not None}

    def check_engine(self, engine: str) -> None:
        """Refuses vLLM's options for another engine.

        Raises:
            ConfigError: names the first such option.
        """
        given = [*self.vllm_options(), *(["engine_mode"] if self.engine_mode else [])]
        if engine != "vllm" and given:
            raise ConfigError(
                f"{given[0]} is an option of vLLM; found it with the engine {engine}. "
                "Give --engine vllm, or leave it out."
            )
