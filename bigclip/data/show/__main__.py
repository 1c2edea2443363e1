"""A contact sheet of what a model will see: pictures after augmentation, captions and tokens.

    python -m bigclip.data.show --config configs/quickstart.py
    python -m bigclip.data.show --config configs/siglip.py:b16 --num 100 --out sheet.png
    python -m bigclip.data.show --config C --config.data.augment.flip=0 --start_batch 1000

The pictures and tokens are those of the batches that `bigclip.train` reads with this
configuration. --out names a page (.html), for any browser and without anything from the network,
or a picture (.png). With streamed shards, --start_batch reads all batches before. Exit code 2 for
a mistake of the user.
"""

import pathlib
import sys
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from bigclip.config import ConfigError, parse_config_flags
from bigclip.data.run_records import open_run
from bigclip.data.show.page import page
from bigclip.data.show.poster import Poster
from bigclip.data.show.sheet import Sheet, make_sheet

_ENDS = (".html", ".png")
_MOST = 5000


def define_flags() -> None:
    """Define the command's flags."""
    config_flags.DEFINE_config_file("config", None, "file.py or file.py:argument")
    flags.DEFINE_integer("num", 64, "examples to show")
    flags.DEFINE_string("out", "show.html", "the file to write: .html or .png")
    flags.DEFINE_integer("start_batch", 0, "the first batch to look at")
    flags.DEFINE_integer("sample", 2000, "records whose texts and headers are counted")


def run(values: Any) -> Sheet:
    """Make the sheet that the flags ask for, write it, and return it.

    Raises:
        ConfigError: for a mistake in the flags, the configuration or the data.
        OSError: if the file cannot be written.
    """
    out = pathlib.Path(values.out)
    if out.suffix.lower() not in _ENDS:
        raise ConfigError(f"--out: {values.out} must end in {' or '.join(_ENDS)}.")
    for name, least in (("num", 1), ("sample", 1), ("start_batch", 0)):
        if values[name].value < least:
            raise ConfigError(f"--{name} must be at least {least}, not {values[name].value}.")
    if values.num > _MOST:
        raise ConfigError(f"--num {values.num}: nobody looks at more than {_MOST} pictures.")
    out.parent.mkdir(parents=True, exist_ok=True)
    opened = open_run(values.config)
    sheet = make_sheet(
        opened.pipeline,
        title=values["config"].config_filename,
        batch_size=opened.batch_size,
        seed=opened.seed,
        start_batch=values.start_batch,
        num=values.num,
        num_surveyed=values.sample,
    )
    if out.suffix.lower() == ".png":
        Poster(sheet).draw().save(out)
    else:
        # A key may hold bytes that are no text; they are spelt out.
        out.write_text(page(sheet), encoding="utf-8", errors="backslashreplace")
    return sheet


def main(argv: list[str]) -> None:
    """The command."""
    values = flags.FLAGS
    try:
        if len(argv) > 1:
            raise ConfigError(f"{argv[1]!r} is no option; see --help.")
        sheet = run(values)
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for sentence in sheet.odd:
        print(f"! {sentence}")
    print(f"{values.out}: {len(sheet.examples)} examples")


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=parse_config_flags)
