"""All comparisons: `python -m benchmarks` runs those of minutes, `--list` names all.

`python -m benchmarks cpu_step --help` is `python -m benchmarks.cpu_step --help`.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Program(NamedTuple):
    """A module of this package with a `main(argv)`.

    Attributes:
        what: it measures.
        short: options of a run of minutes; None if there is no short form.
    """

    what: str
    short: tuple[str, ...] | None


PROGRAMS = {
    "train_step": Program(
        "step time and memory of the demo, beside open_clip", ("--rounds", "4", "--steps", "5")
    ),
    "cpu_step": Program(
        "step time and memory of ViT-B/32 and ViT-S/16 on this CPU, beside open_clip, "
        "transformers and big_vision",
        ("--rounds", "1", "--steps", "1"),
    ),
    "data": Program(
        "images/s a core of the input pipeline, beside open_clip's and tf.data",
        ("--cores", "1", "--rounds", "3", "--seconds", "3"),
    ),
    "demo_against_open_clip": Program(
        "held-out retrieval of whole runs; times hold in the short form, scores need full length",
        ("--seeds", "0", "--steps", "100"),
    ),
    "exported_demo": Program(
        "the demo's checkpoint, evaluated by transformers and open_clip alone", None
    ),
    "convert_memory": Program(
        "peak memory of conversions, beside the size of the file",
        ("--architecture", "clip-vit-b-32"),
    ),
    "probe": Program(
        "the CLIP paper's linear probe, sweep included, beside scikit-learn",
        ("--rows", "5000", "--width", "256", "--classes", "50", "--separation", "0.6"),
    ),
    "gpu": Program("steps and the loss alone on a GPU, beside open_clip", ()),
    "attention": Program("one attention layer three ways, by the TPU compiler", None),
    "tpu_step": Program("SigLIP's step by the TPU compiler, beside big_vision", None),
    "weak_scaling": Program("SigLIP's step on ever larger pods, by the TPU compiler", None),
}


def main(argv: Sequence[str]) -> None:
    """Run one program, or the short forms of all that have one."""
    if argv and argv[0] in PROGRAMS:
        importlib.import_module(f"benchmarks.{argv[0]}").main(list(argv[1:]))
        return
    if argv and argv[0] != "--list":
        sys.exit(f"{argv[0]} is none of {', '.join(PROGRAMS)}; or --list, or nothing.")
    for name, program in PROGRAMS.items():
        length = "up to half an hour" if program.short is None else "minutes"
        print(f"python -m benchmarks.{name:24} {program.what} ({length})", file=sys.stderr)
    if argv:
        return
    for name, program in PROGRAMS.items():
        if program.short is not None:
            importlib.import_module(f"benchmarks.{name}").main(list(program.short))


if __name__ == "__main__":
    main(sys.argv[1:])
