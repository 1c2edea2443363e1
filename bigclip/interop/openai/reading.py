"""A state dict of OpenAI's, or one of its TorchScript archives, as a model of ours."""

from pathlib import Path

from bigclip import models
from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.interop.clip_tokenizer import given_or_clips
from bigclip.interop.files import open_weights
from bigclip.interop.format import Imported, ReadOptions
from bigclip.interop.openai.geometry import architecture_of
from bigclip.interop.openai_rows import BUFFERS, model_rows


def recognises(path: Path) -> bool:
    """Tell OpenAI's releases.

    open_clip's files have the same names and another activation, so these would not do. The
    releases alone tell their resolution.
    """
    if not path.is_file() or path.suffix not in (".pt", ".pth", ".bin", ".safetensors"):
        return False
    try:
        weights = open_weights(path)
    except ConfigError:
        return False
    return "input_resolution" in weights and "visual.conv1.weight" in weights


def read(path: Path, options: ReadOptions) -> Imported:
    """Read a file.

    Raises:
        ConfigError: if an array that tells the architecture is missing, if the user names another
            architecture, or if the vocabulary is not CLIP's and the user names no tokenizer.
    """
    weights = open_weights(path)
    arch = architecture_of(weights)
    if options.architecture is not None and arch != models.architecture(options.architecture):
        raise ConfigError(
            f"{path} is no {options.architecture}: its arrays say {arch}. Leave --architecture "
            "away: a state dict of OpenAI's tells it by its shapes."
        )
    length, vocab_size = arch["text"]["context_length"], arch["text"]["vocab_size"]
    return Imported(
        weights=weights,
        rows=model_rows(arch),
        architecture=arch,
        loss="softmax",
        preprocess=Preprocess(size=arch["image"]["image_size"], resize="crop"),
        tokenizer=given_or_clips(options.tokenizer, length, vocab_size, str(path)),
        towers=("image", "text") if options.tower is None else (options.tower,),
        ignored=BUFFERS,
    )
