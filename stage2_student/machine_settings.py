"""How a training uses its machine: a part of `TrainSettings`. No torch."""

from typing import Literal

from pydantic import BaseModel, Field


class MachineSettings(BaseModel):
    """Precision, memory, and how several processes share the work."""

    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="bfloat16: products in bfloat16, master weights and sums in float32; the "
        "finished student is then stored in bfloat16.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, more time."
    )
    compile: bool = Field(
        False,
        description="Compile the student's layers (torch.compile; needs a C++ compiler): the first "
        "steps take minutes, later ones less time and memory.",
    )
    parallel: Literal["ddp", "fsdp", "zero2"] = Field(
        "ddp",
        description="How several processes (torchrun) share the work: a copy of the student each, "
        "a shard of it, or (DeepSpeed) a copy of it with a shard of gradients and optimizer.",
    )
