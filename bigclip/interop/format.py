"""What a foreign format is to `bigclip.convert`: how it is told, read, written and proven."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import PIL.Image

from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.files import Weights
from bigclip.interop.mapping import Row
from bigclip.interop.outgoing import Outgoing

ReadArray = Callable[[str], np.ndarray]  # name -> array


class ReadOptions(NamedTuple):
    """What a user may tell about a file that does not tell it itself.

    Attributes:
        architecture: a name of `bigclip.models.ARCHITECTURES`.
        tokenizer: path of a tokenizer's file.
        tower: "image" or "text" to read that tower alone.
    """

    architecture: str | None = None
    tokenizer: str | None = None
    tower: str | None = None


class Imported(NamedTuple):
    """A foreign model, read but for its arrays.

    Attributes:
        weights: its arrays, by their names.
        rows: the table of the format.
        architecture: whole, plain data, as `bigclip.models.architecture` checks it.
        loss: "softmax" or "sigmoid".
        preprocess: how its pictures are prepared.
        tokenizer: None only for an image tower alone.
        towers: which are in the file. Of one that is not, `architecture` holds a default.
        ignored: regular expressions of names in the file that hold no parameter.
        extra: our path -> function(read) -> array, for what no row can say; `read(name)` gives
            an array of the file.
        notes: what the user should know: what was assumed, what differs.
        origin: what the manifest is to keep of where the model came from, beside format and name.
        manifest: of the checkpoint that the file was made from, where the file holds it: then the
            step, the task's options and the configuration come back, too.
    """

    weights: Weights
    rows: tuple[Row, ...]
    architecture: dict[str, Any]
    loss: str
    preprocess: Preprocess
    tokenizer: Tokenizer | None
    towers: tuple[str, ...] = ("image", "text")
    ignored: tuple[str, ...] = ()
    extra: Mapping[str, Callable[[ReadArray], np.ndarray]] = {}
    notes: tuple[str, ...] = ()
    origin: Mapping[str, str] = {}
    manifest: Mapping[str, Any] | None = None


class Reference(Protocol):
    """The model as the other framework's own code runs it, on numpy arrays."""

    def pixels(self, pictures: Sequence[PIL.Image.Image]) -> np.ndarray | None:
        """Prepare pictures: float32 [I, H, W, 3], normalised; None without an own transform."""

    def ids(self, texts: Sequence[str]) -> np.ndarray | None:
        """Cut texts into ids [T, L]; None without an own tokenizer."""

    def embed_images(self, pixels: np.ndarray) -> np.ndarray:
        """Embed normalised pixels: [I, D], of unit length unless the tower is alone."""

    def embed_texts(self, ids: np.ndarray) -> np.ndarray | None:
        """Embed ids: [T, D], of unit length; None for an image tower alone."""

    def logits(self, pixels: np.ndarray, ids: np.ndarray) -> np.ndarray | None:
        """Score all pairs, [I, T]; None for an image tower alone."""


class Format(NamedTuple):
    """A foreign format.

    Attributes:
        name: the value of --format.
        title: one line about it.
        suffixes: of a file; () where the destination is a folder.
        recognises: (path) -> whether it seems to be of this format; cheap.
        read: (path, options) -> `Imported`; None if the format only goes out.
        write: (temporary path, `Outgoing`) writes the file, or into the folder, which is there.
            All checks come before the first byte. What the user should know goes to `notes` of
            the `Outgoing`.
        reference: (path) -> `Reference`. Imports the other framework. None if there is none; then
            the proof is the way back.
        install: the command that installs what `reference` needs.
        towers: what an export holds of a model that has both.
        needs: modules that `reference` imports.
        ready: raises ImportError if something else is missing; called before the work begins.
        usage: Python lines for the model card, where {path} stands for the name of the export; or
            (`Outgoing`, name) -> lines.
        library: what model hubs call it in a card; None if they do not.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    recognises: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions], Imported] | None
    write: Callable[[Path, Outgoing], None] | None
    reference: Callable[[Path], Reference] | None
    install: str
    towers: tuple[str, ...] = ("image", "text")
    needs: tuple[str, ...] = ()
    ready: Callable[[], object] | None = None
    usage: str | Callable[[Outgoing, str], str] = ""
    library: str | None = None
