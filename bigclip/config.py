"""Strict reading of configuration blocks.

A configuration is a Python file with `get_config(arg)` that returns an
`ml_collections.ConfigDict`. Each block of it becomes the keyword arguments of one function, whose
signature is the only place where its keys and defaults are written. `check` holds a block against
that signature, `call` checks and calls, `resolve` fills in the defaults, so that what a run saves
says everything that shaped it. `parse_config_flags` reads the command line that names the file;
`read_file` reads a file alone.
"""

import ast
import difflib
import inspect
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from absl import flags
from ml_collections import config_flags


class ConfigError(ValueError):
    """A mistake in a configuration, told in the user's words."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """Name the nearest valid choice and list them all, for the end of an error message."""
    valid = sorted(valid)
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} Valid: {', '.join(valid) or '(none)'}."


def choose(name: Any, choices: Mapping[str, Any], where: str) -> Any:
    """Return `choices[name]`.

    Raises:
        ConfigError: if `name` is none of them; names the config key `where` and the choices.
    """
    if not isinstance(name, str) or name not in choices:
        raise ConfigError(f"{where}: no choice {name!r}.{suggest(str(name), choices)}")
    return choices[name]


def plain(value: Any) -> Any:
    """Turn ConfigDicts and tuples into the dicts and lists that JSON gives back.

    Raises:
        ConfigError: if a value is not plain data (a function, an array, ...).
    """

    def block(part: Any) -> Any:
        if hasattr(part, "to_dict"):
            return part.to_dict()
        raise TypeError(f"{part!r} is {type(part).__name__}")

    try:
        return json.loads(json.dumps(value, allow_nan=False, default=block))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a configuration holds only plain data (JSON): {error}.") from error


def _keywords(fn: Callable, given: Iterable[str]) -> dict[str, inspect.Parameter]:
    """Parameters of `fn` that configuration may set: those that the code does not supply."""
    given = set(given)
    return {
        name: parameter
        for name, parameter in inspect.signature(fn).parameters.items()
        if name not in given
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def check(fn: Callable, block: Mapping[str, Any], where: str, *, given: Iterable[str] = ()) -> None:
    """Hold a block against the arguments of the function that will read it.

    Args:
        fn: the reader, a function or a class.
        block: the configuration block.
        where: the block's path in the configuration, for messages ("" is the top level).
        given: parameters that the code supplies itself; they are no configuration keys.

    Raises:
        ConfigError: for an unknown or a missing key; names the nearest valid one and lists all.
    """
    place = f"config.{where}" if where else "config"
    if not hasattr(block, "keys"):
        raise ConfigError(f"{place} must be a block of key = value, not {block!r}.")
    keywords = _keywords(fn, given)
    names = list(block.keys())
    for key in names:
        if key not in keywords:
            raise ConfigError(f"unknown key {key!r} in {place}.{suggest(key, keywords)}")
    for name, parameter in keywords.items():
        # None stands for a value that a configuration leaves to the command line.
        if parameter.default is inspect.Parameter.empty and (
            name not in names or block[name] is None
        ):
            raise ConfigError(
                f"{place}.{name} is missing: it has no default. Set it in the configuration or "
                f"with --{place}.{name}=VALUE.{suggest('', keywords)}"
            )


def call(fn: Callable, block: Mapping[str, Any], where: str, *args: Any, **given: Any) -> Any:
    """Check a block, then call its reader with it: `fn(*args, **given, **block)`."""
    positional = list(inspect.signature(fn).parameters)[: len(args)]
    check(fn, block, where, given=(*positional, *given))
    return fn(*args, **given, **dict(block.items()))


def resolve(fn: Callable, block: Mapping[str, Any], *, given: Iterable[str] = ()) -> dict[str, Any]:
    """Return the block with the defaults of its reader's signature filled in."""
    return {
        name: block.get(name, parameter.default) for name, parameter in _keywords(fn, given).items()
    }


def differences(old: Any, new: Any, where: str = "config") -> list[str]:
    """List where two plain configurations differ, one line each: `path: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            lines += differences(old.get(key), new.get(key), f"{where}.{key}")
        return lines
    return [] if old == new else [f"{where}: {old!r} -> {new!r}"]


def read_file(place: str, option: str) -> dict[str, Any]:
    """Return what the `get_config` of a file gives, as plain data.

    Args:
        place: "file.py", or "file.py:argument".
        option: names the option in messages, "--evals".

    Raises:
        ConfigError: if there is no such file, it has no `get_config`, or that fails.
    """
    path, _, argument = place.partition(":")
    try:
        get_config = runpy.run_path(path)["get_config"]
        return plain(get_config(argument) if argument else get_config())
    except KeyError as error:
        raise ConfigError(f"{option}: {path} sets no {error}: it needs get_config().") from error
    except Exception as error:  # whatever the user's own code raises
        raise ConfigError(f"{option}: {place}: {type(error).__name__}: {error}") from error


def _last_words(told: str) -> str:
    """Leave the trace away that ml_collections puts into its message about a configuration."""
    if "Traceback (most recent call last)" not in told:
        return told
    last = told.strip().splitlines()[-1].strip()
    return re.sub(r"^[\w.]*(Error|Exception): ", "", last)


class ListParser(flags.ArgumentParser):
    """Reads a list on the command line, which `config_flags` by itself does not.

    `['a.tar', 'b.tar']`, as Python writes it, or one element alone: `a.tar`, `3`.
    """

    def parse(self, argument: str) -> list:
        try:
            value = ast.literal_eval(argument)
        except (SyntaxError, ValueError):
            value = argument
        return list(value) if isinstance(value, list | tuple) else [value]

    def flag_type(self) -> str:
        return "list"


def parse_config_flags(argv: list[str]) -> list[str]:
    """Parse the command line of a command with a `--config` of `config_flags`.

    Args:
        argv: the words of the command line.

    Returns:
        Those that are no flags.

    Raises:
        SystemExit: with code 2, for a mistake in the command line or in the configuration's file.
    """
    config_flags.register_flag_parser_for_type(list, ListParser())
    try:
        try:
            rest = flags.FLAGS(argv)
        except flags.Error as error:
            print(f"error: {_last_words(str(error))}", file=sys.stderr)
            sys.exit(2)
        if flags.FLAGS.config is not None:
            flags.FLAGS.config.keys()  # a file that cannot be read complains only when it is used
        return rest
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        problem = str(error).strip("\"'").replace("\\n", " ")
        if " " not in problem:  # of some mistakes only the key is told
            problem = f"the file sets no key {problem!r}."
        print(
            f"error: --config: {problem}\n"
            "--config names a file with get_config(argument); --config.KEY=VALUE changes a key "
            "that this file sets (to set another one, add it there).",
            file=sys.stderr,
        )
        sys.exit(2)
