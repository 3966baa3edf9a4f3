"""The metrics every stage pod serves: part of the stage contract, as the operator and dashboards read them."""

from __future__ import annotations

STAGE_LABELS = ("run", "stage", "round")
"""Labels of each; a scrape adds the namespace and the pod, which tells shards and nodes apart."""
GPU_LABELS = (*STAGE_LABELS, "gpu")
STAGE_GAUGES = {
    "hardening_stage_progress_ratio": "Share of the stage's units done, 0 to 1.",
    "hardening_stage_eta_seconds": "Estimated time left; NaN before there is a pace.",
    "hardening_stage_tokens_per_second": "Tokens read and written by models, per second since the start.",
    "hardening_stage_loss": "DPO loss of the latest step.",
    "hardening_stage_grad_norm": "Norm of the gradient at the latest step, before clipping.",
    "hardening_stage_learning_rate": "Learning rate of the latest step.",
    "hardening_stage_rewards_margins": "Reward of the chosen less the rejected answer, mean of the latest step.",
    "hardening_stage_rewards_accuracies": "Share of the latest step's pairs whose chosen answer has the higher reward.",
}
"""Help of each gauge by its name; those of a training only appear in one."""
STAGE_COUNTERS = {"hardening_stage_tokens_total": "Tokens read and written by models."}
STAGE_GPU_GAUGES = {
    "hardening_stage_gpu_memory_used_bytes": "Memory in use on a GPU the pod sees.",
    "hardening_stage_gpu_memory_total_bytes": "Memory of a GPU the pod sees.",
}
"""With the label gpu, the index of the GPU in the pod; absent where there is none."""
