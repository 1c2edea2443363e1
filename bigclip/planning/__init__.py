"""Will it fit, what will it cost: compiled for a pod, without a pod."""

from bigclip.planning.gpu import plan_gpus
from bigclip.planning.plans import is_gpu, plan_loss, plan_training
from bigclip.planning.sweep import sweep
from bigclip.planning.tables import print_plan, sweep_row, sweep_summary
from bigclip.planning.topology import use_cpu

__all__ = [
    "is_gpu",
    "plan_gpus",
    "plan_loss",
    "plan_training",
    "print_plan",
    "sweep",
    "sweep_row",
    "sweep_summary",
    "use_cpu",
]
