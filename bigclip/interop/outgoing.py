"""What a checkpoint offers to an export: its manifest, and its arrays one by one."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from etils import epath
from jax.tree_util import tree_leaves_with_path

from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.files import Spec
from bigclip.interop.mapping import Link, Row, cover
from bigclip.models.layers import places
from bigclip.parallel import path_name

TASK = "contrastive"  # the task whose models other frameworks know: two towers and a scale
_FLOAT32 = np.dtype(np.float32)


class Outgoing:
    """A checkpoint with its layers unrolled, whether it holds them scanned or not.

    Attributes:
        manifest: of the checkpoint.
        architecture: of the task, plain data.
        loss: "softmax" or "sigmoid".
        preprocess: the evaluation transform.
        tokenizer: the tokenizer.
        towers: ("image", "text"), or the one that the checkpoint holds.
        step: of the checkpoint.
        examples_seen: by then.
        shapes: our path, layers unrolled -> shape; all are float32.
        notes: what the user should know of the export; formats add to it.
    """

    def __init__(self, path: epath.PathLike, *, step: int | None = None, ema: bool = False):
        """Open a checkpoint; no array is read.

        Args:
            path: as `bigclip.load` takes it.
            step: which checkpoint of a run; the newest by default.
            ema: whether to take the averaged parameters.

        Raises:
            ConfigError: if there is none, without averaged parameters or of another task.
        """
        self._place = checkpoints.step_path(path, step)
        self._item = "ema" if ema else "params"
        self.manifest = checkpoints.read_manifest(self._place)
        task = self.manifest["task"]
        if task["name"] != TASK:
            raise ConfigError(
                f"{self._place} holds a model of the task {task['name']!r}; exports take {TASK!r}."
            )
        self.architecture, self.loss = task["architecture"], task["loss"]
        self.preprocess = Preprocess(**self.manifest["preprocess"])
        self.tokenizer = Tokenizer.from_dict(self.manifest["tokenizer"])
        self.towers = tuple(self.manifest.get("towers", ("image", "text")))
        self.step, self.examples_seen = self.manifest["step"], self.manifest["examples_seen"]
        tree = checkpoints.params_shapes(self._place, item=self._item)
        self._leaves = {path_name(path): leaf for path, leaf in tree_leaves_with_path(tree)}
        self._places = places(tree)
        self.shapes = {name: place.shape for name, place in self._places.items()}
        self._held: dict[str, np.ndarray] = {}  # scanned layers
        self.notes: list[str] = []

    def read(self, name: str) -> np.ndarray:
        """Read one parameter, float32, by its path with layers unrolled."""
        stored, layer, _ = self._places[name]
        if layer is None:
            return self._read_stored(stored)
        if stored not in self._held:
            self._held[stored] = self._read_stored(stored)
        return self._held[stored][layer]

    def _read_stored(self, stored: str) -> np.ndarray:
        leaf = self._leaves[stored]
        return checkpoints.read_array(self._place, stored, leaf, item=self._item)

    def _forget(self, needed: Iterable[str] = ()) -> None:
        """Let go of scanned layers, but for those that the next parameters need."""
        stored = {self._places[name].stored for name in needed}
        self._held = {name: array for name, array in self._held.items() if name in stored}

    def translated(
        self,
        rows: Iterable[Row],
        *,
        where: str,
        extra: Mapping[str, tuple[Spec, Callable[[Callable[[str], np.ndarray]], np.ndarray]]]
        | None = None,
        without: Iterable[str] = (),
    ) -> tuple[dict[str, Spec], Iterator[tuple[str, np.ndarray]]]:
        """Translate all parameters by a table.

        Args:
            rows: the table of the format.
            where: the format, for messages.
            extra: their name -> what it is and function(read) -> array, for what no row can say.
            without: our paths that need no row, since `extra` has used them.

        Returns:
            Their names and what each is; and the arrays, in an order that reads each of ours once.

        Raises:
            ConfigError: if a parameter has no place in the format.
        """
        found = cover(rows, self.architecture, ours=self.shapes, without=without, where=where)
        # Layers of one scanned array follow each other.
        found.sort(key=lambda link: self._places[link.ours[0]].stored)
        specs = {link.theirs: Spec(link.their_shape(self.shapes), _FLOAT32) for link in found}
        computed = dict(extra or {})
        specs |= {name: spec for name, (spec, _) in computed.items()}
        return specs, self._arrays(found, computed)

    def _arrays(
        self, found: list[Link], computed: Mapping[str, tuple[Spec, Callable]]
    ) -> Iterator[tuple[str, np.ndarray]]:
        for link in found:
            self._forget(needed=link.ours)
            yield link.theirs, link.to_theirs([self.read(name) for name in link.ours])
        for name, (_, make) in computed.items():
            self._forget()
            yield name, make(self.read)
        self._forget()
