"""What is learned: one file a family of methods, and the table of their names."""

from collections.abc import Callable, Mapping
from typing import Any

from bigclip.config import ConfigError, choose
from bigclip.config import call as call_block
from bigclip.tasks.contrastive import contrastive
from bigclip.tasks.task import Examples, Outputs, Params, Task

TASKS: dict[str, Callable[..., Task]] = {"contrastive": contrastive}


def make_task(block: Mapping[str, Any], **given: Any) -> Task:
    """Build a task from its configuration block: `name` and the arguments of that task.

    Args:
        block: {"name": one of `TASKS`, ...}.
        **given: arguments that the caller knows (the tokenizer's and preprocessing's sizes).

    Raises:
        ConfigError: for an unknown task or key.
    """
    arguments = dict(block.items())
    if "name" not in arguments:
        raise ConfigError(f"config.task.name is missing. Valid: {', '.join(sorted(TASKS))}.")
    return call_block(
        choose(arguments.pop("name"), TASKS, "config.task.name"), arguments, "task", **given
    )


__all__ = ["TASKS", "Examples", "Outputs", "Params", "Task", "make_task"]
