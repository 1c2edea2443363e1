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
    what = "may be of several formats" if found else "is of no format that is known by its look"
    raise ConfigError(f"{source} {what}: say --format, one of {names}.")


def chosen(name: str) -> Format:
    """Return the format of a name.

    Raises:
        ConfigError: for an unknown name; lists the known ones.
    """
    return choose(name, FORMATS, "--format")


def check_ready(format: Format) -> None:
    """Look for what `Format.reference` needs, before the work begins.

    Raises:
        ConfigError: if no other framework reads the format, or it is not installed.
    """
    if format.reference is None:
        raise ConfigError(f"--verify: no other framework reads {format.name!r}.")
    missing = [name for name in format.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"--verify runs the model in the other framework, and {', '.join(missing)} is not "
            f"installed: {format.install}"
        )
    if format.ready is not None:
        try:
            format.ready()
        except ImportError as error:
            raise ConfigError(f"--verify runs the model in the other framework: {error}") from error
