"""Real pictures with real texts that ship with bigclip: emoji in seven styles, and clip art.

About 12,000 pictures of 64 x 64 pixels in ordinary webdataset tars. ``README.md`` beside this file
tells where they come from and how the splits are drawn, ``NOTICE`` under which licences they are.
"""

import json
from pathlib import Path

SPLITS = ("train", "heldout_concepts", "heldout_style", "heldout_titles")

_FOLDER = Path(__file__).parent


def shards(split: str) -> list[str]:
    """Return the paths of the tars of one split, in order.

    Args:
        split: One of ``SPLITS``: "train"; "heldout_concepts", emoji whose idea is not in training
            in any style; "heldout_style", training concepts in a style not in training;
            "heldout_titles", clip art whose title is not in training.

    Raises:
        ValueError: there is no such split.
        FileNotFoundError: a tar that ``summary.json`` lists is missing.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r} in the embedded data: choose from {list(SPLITS)}")
    names = sorted(name for name in summary()["shards"] if name.startswith(split + "-"))
    missing = [name for name in names if not (_FOLDER / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"the embedded data lacks {missing} in {_FOLDER}: install bigclip again, or rebuild "
            "with `python -m bigclip.data.embedded.recipe --out DIR`"
        )
    return [str(_FOLDER / name) for name in names]


def summary() -> dict:
    """Return the counts of the pack.

    Returns:
        "records", "image_bytes", "splits" (per split: records, concepts, groups, image_bytes and
        styles), "styles", "licenses", "caption_sources", and "shards" (file name -> records,
        bytes, sha256).
    """
    return json.loads((_FOLDER / "summary.json").read_text(encoding="utf-8"))
