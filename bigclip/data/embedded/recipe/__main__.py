"""Rebuild the embedded pack: ``python -m bigclip.data.embedded.recipe --out DIR``."""

import argparse
import io
import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from bigclip.data.embedded.recipe import duplicates, notice, shards
from bigclip.data.embedded.recipe.collect import Draft, drafts
from bigclip.data.embedded.recipe.fetch import FetchError, fetch_all
from bigclip.data.embedded.recipe.packages import STYLES
from bigclip.data.embedded.recipe.rasterise import SIZE, RenderError, webp


def _draw(draft: Draft) -> tuple[bytes, bytes] | str:
    """Return a picture's pixels as stored and its WebP bytes, or why there is none."""
    try:
        encoded = webp(draft.draw())
    except RenderError as error:
        return f"{draft.origin}: {error}"
    return Image.open(io.BytesIO(encoded)).convert("RGB").tobytes(), encoded


def build(out: Path, *, cache: Path, num_processes: int) -> dict:
    """Build shards, summary.json and NOTICE.

    Args:
        out: Folder that receives the files; older shards in it are removed.
        cache: Folder for downloads.
        num_processes: Processes that draw.

    Returns:
        The summary, as written.
    """
    candidates = list(drafts(fetch_all(cache)))
    with multiprocessing.Pool(num_processes) as pool:
        drawn = pool.map(_draw, candidates, chunksize=32)
    failures = [one for one in drawn if isinstance(one, str)]
    both = [(c, d) for c, d in zip(candidates, drawn, strict=True) if not isinstance(d, str)]
    images = [Image.frombytes("RGB", (SIZE, SIZE), pixels) for _, (pixels, _) in both]
    stay = duplicates.kept(
        [duplicates.digest(image) for image in images],
        np.stack([duplicates.fingerprint(image) for image in images]),
        [draft.split for draft, _ in both],
    )
    records = []
    for draft, (_, encoded) in (both[i] for i in stay):
        metadata = {
            "captions": draft.captions,
            "concept": draft.concept,
            "group": draft.group,
            "license": STYLES[draft.style].license,
            "origin": draft.origin,
            "style": draft.style,
        }
        records.append(shards.PackRecord(draft.split, encoded, draft.concept, metadata))
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.tar"):
        old.unlink()
    summary = notice.summarise(records) | {"shards": shards.write(records, out)}
    text = json.dumps(summary, indent=1, sort_keys=True) + "\n"
    (out / "summary.json").write_text(text, encoding="utf-8")
    (out / "NOTICE").write_text(notice.notice(summary), encoding="utf-8")
    print(f"{len(candidates)} candidates, {len(both) - len(stay)} duplicates dropped")
    print(f"{len(failures)} not drawn:", *failures, sep="\n  ")
    return summary


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(
        description="Rebuild the embedded pack from npm and Debian packages.",
        epilog="example: python -m bigclip.data.embedded.recipe --out /tmp/pack --cache /tmp/get",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished pack")
    parser.add_argument("--cache", type=Path, help="folder for downloads [OUT/cache]")
    parser.add_argument("--num_processes", type=int, default=2, help="drawing processes [2]")
    arguments = parser.parse_args()
    try:
        summary = build(
            arguments.out,
            cache=arguments.cache or arguments.out / "cache",
            num_processes=arguments.num_processes,
        )
    except (FetchError, ImportError) as error:
        sys.exit(str(error))
    for split, part in summary["splits"].items():
        print(f"{split}: {part['records']} records, {part['concepts']} concepts")


if __name__ == "__main__":
    main()
