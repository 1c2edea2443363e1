"""Train a tokenizer on captions, or show how one cuts a text.

    python -m bigclip.data.tokenizer train --captions captions.txt.gz --out tok.json
    python -m bigclip.data.tokenizer train --shards '/data/{00000..00099}.tar' --out tok.json
    python -m bigclip.data.tokenizer show tok.json 'a red fox' 'un renard roux'

The file is read by config.tokenizer = {"kind": "saved", "path": "tok.json"}.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.sources import open_source
from bigclip.data.text_cleaning import CLEANERS
from bigclip.data.tokenizer import (
    Tokenizer,
    clip_bpe,
    huggingface_tokenizer,
    load_tokenizer,
    save_tokenizer,
    sentencepiece_tokenizer,
    train_tokenizer,
)
from bigclip.data.tokenizer.corpus import captions_of_files, captions_of_source
from bigclip.data.tokenizer.training import UNKNOWN_WORDS

_MAX_KEPT = 100_000  # captions whose tokens are counted: some seconds


class _Sample:
    """Passes texts on and keeps at most `_MAX_KEPT` of them, evenly."""

    def __init__(self):
        self.num_texts = 0
        self.kept: list[str] = []
        self._stride = 1

    def watch(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            if self.num_texts % self._stride == 0:
                self.kept.append(text)
                if len(self.kept) > _MAX_KEPT:
                    self.kept = self.kept[::2]
                    self._stride *= 2
            self.num_texts += 1
            yield text


def _train(args: argparse.Namespace) -> None:
    folder = os.path.dirname(os.path.expanduser(args.out)) or "."
    if not os.path.isdir(folder):  # told now, and not after an hour of training
        raise ConfigError(f"--out: there is no folder {folder}")
    if args.captions:
        captions = captions_of_files(args.captions)
    else:
        source = open_source(kind="webdataset", shards=args.shards)
        captions = captions_of_source(source, max_records=args.max_records)
    sample = _Sample()
    tokenizer = train_tokenizer(
        sample.watch(captions),
        vocab_size=args.vocab_size,
        context_length=args.context_length,
        min_frequency=args.min_frequency,
        clean=args.clean,
        unknown_words=args.unknown_words,
    )
    if not sample.num_texts:
        raise ConfigError("there is no caption to learn from")
    save_tokenizer(tokenizer, args.out)
    print(f"{args.out}: {tokenizer.vocab_size} tokens, from {sample.num_texts} captions")
    _report(tokenizer, sample.kept)


def _report(tokenizer: Tokenizer, texts: list[str]) -> None:
    """Print how many tokens captions take, special ones included, and three examples."""
    num_special = (tokenizer.sot is not None) + (tokenizer.eot is not None)
    num_tokens = np.array([len(tokenizer.pieces(text)) + num_special for text in texts])
    too_long = (num_tokens > tokenizer.context_length).mean()
    print(
        f"tokens per caption (with sot and eot): mean {num_tokens.mean():.1f}, "
        f"95% at most {np.percentile(num_tokens, 95, method='higher')}, max {num_tokens.max()}; "
        f"{too_long:.2%} of the captions are cut at {tokenizer.context_length}"
    )
    for place in (0, len(texts) // 2, len(texts) - 1):
        print(f"  {texts[place]!r}: {' '.join(tokenizer.pieces(texts[place]))}")


def _open(name: str, pad: str) -> Tokenizer:
    """Open a tokenizer of any kind by its name."""
    if name == "clip_bpe":
        return clip_bpe()
    if name.endswith(".model"):
        return sentencepiece_tokenizer(name, pad=pad)
    if os.path.isdir(os.path.expanduser(name)) or os.path.basename(name) == "tokenizer.json":
        return huggingface_tokenizer(name, pad=pad)
    return load_tokenizer(name)


def _show(args: argparse.Namespace) -> None:
    tokenizer = _open(args.tokenizer, args.pad)
    for text in args.texts:
        ids = tokenizer([text])[0].tolist()
        while len(ids) > 1 and ids[-1] == ids[-2] == tokenizer.pad:
            ids.pop()
        print(" ".join(tokenizer.pieces(text)))
        print(" ".join(map(str, ids)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.data.tokenizer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser("train", help="learn one from captions and write it as JSON")
    texts = train.add_mutually_exclusive_group(required=True)
    texts.add_argument("--captions", nargs="+", metavar="FILE", help="a caption a line; .gz, too")
    texts.add_argument("--shards", metavar="PATTERN", help="webdataset tars: 'data/{00..99}.tar'")
    train.add_argument("--out", required=True, metavar="FILE", help="the JSON to write")
    train.add_argument("--vocab_size", type=int, default=32_000, help="at most (%(default)s)")
    train.add_argument("--context_length", type=int, default=64, help="ids a text (%(default)s)")
    train.add_argument(
        "--min_frequency", type=int, default=2, help="of a pair to be merged (%(default)s)"
    )
    train.add_argument("--clean", choices=CLEANERS, default="clip", help="(%(default)s)")
    train.add_argument(
        "--unknown_words",
        choices=UNKNOWN_WORDS,
        default="split",
        help="what becomes of words that none of the captions has (%(default)s)",
    )
    train.add_argument(
        "--max_records", type=int, default=500_000, help="of the shards, evenly (%(default)s)"
    )
    train.set_defaults(run=_train)
    show = commands.add_parser("show", help="print the pieces and the ids of texts")
    show.add_argument(
        "tokenizer",
        help="a saved JSON or manifest, a .model, a tokenizer.json or its folder, or clip_bpe",
    )
    show.add_argument("texts", nargs="+", metavar="TEXT")
    show.add_argument(
        "--pad", default="model", help="the padding of a .model or tokenizer.json that tells none"
    )
    show.set_defaults(run=_show)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 2 for a mistake of the user, told in one line on stderr.
    """
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except (ConfigError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
