"""All foreign formats, in the order in which they are asked whether a source is theirs."""

import importlib.util
from pathlib import Path

from bigclip.config import ConfigError, choose
from bigclip.interop import (
    big_vision,
    onnx_out,
    open_clip_folder,
    openai,
    plain,
    timm_folder,
    transformers_folder,
)
from bigclip.interop.files import open_weights
from bigclip.interop.format import Format

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        transformers_folder,
        open_clip_folder,
        timm_folder,
        big_vision,
        plain,
        openai,
        onnx_out,
    )
}


def recognise(source: Path) -> Format:
    """Tell the format of a source that is to be imported.

    Raises:
        ConfigError: if it is missing, or seems to be of none or of several formats.
    """
    if not source.exists():
        raise ConfigError(f"{source} does not exist.")
    found = [one for one in FORMATS.values() if one.read is not None and one.recognises(source)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in found or FORMATS.values() if one.read is not None)
    if found:
        raise ConfigError(f"{source} may be of several formats: say --format, one of {names}.")
    if source.is_file():
        # A damaged file, or one that holds no weights, says so here.
        told = ", ".join(list(open_weights(source))[:3])
        raise ConfigError(
            f"{source}: its names ({told}, ...) are of no format that is known by them: say "
            f"--format, one of {names}."
        )
    there = ", ".join(sorted(path.name for path in source.iterdir())[:12]) or "nothing"
    raise ConfigError(
        f"{source} is a folder of no known format; it holds {there}. Say --format, one of {names}, "
        "and that one's reader tells what it misses; or name a file of weights."
    )


def chosen(name: str) -> Format:
    """Return the format of a name.

    Raises:
        ConfigError: for an unknown name; lists the known ones.
    """
    return choose(name, FORMATS, "--format")


def check_ready(format: Format) -> None:
    """Look for what `Format.reference` needs, before the work begins.

    Raises:
        ConfigError: if it is not installed.
    """
    missing = [name for name in format.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            "--verify runs the model in the other framework, which is not installed here "
            f"({', '.join(missing)}): {format.install}"
        )
    if format.ready is not None:
        try:
            format.ready()
        except ImportError as error:
            raise ConfigError(f"--verify runs the model in the other framework: {error}") from error
