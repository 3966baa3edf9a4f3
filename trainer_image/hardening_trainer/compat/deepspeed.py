"""DeepSpeed compiles a kernel of its own for collectives between processes on a CPU.

Seen with deepspeed 0.19.8: `TorchBackend` builds it when it starts, which takes 40 s and a C++ compiler that an image
need not have. It serves `inference_all_reduce` alone, which no training here calls, and no setting leaves it out.
https://github.com/deepspeedai/DeepSpeed/issues/7625 (open) asks for a way to choose the backend.
To remove when a setting leaves the kernel out.
"""

from __future__ import annotations

_KERNEL = "deepspeed_shm_comm"


def leave_out_the_communication_kernel() -> None:
    """Have DeepSpeed talk through gloo on a CPU. To be called before its processes meet; a GPU's are not affected."""
    from deepspeed import ops  # noqa: PLC0415  # seconds, and only a training with DeepSpeed has it

    ops.__compatible_ops__[_KERNEL] = False
