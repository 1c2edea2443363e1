"""What learns: pure functions around one parameter tree.

The cut between `forward` and `objective` carries the whole framework. `forward` never lets one
example see another, so that it may be scanned over micro-batches, recomputed, and sharded by
partition rules alone. `objective` never touches pixels or tokens, so that all pairs of a global
batch meet there at the price of their embeddings.

There is one exception: batch normalisation, in a tower that has it and trains by the statistics
of the batch. There each example sees the mean and the variance of the others. Sharding changes
nothing about that, since these are means over all devices. Micro-batches do: each slice is
normalised by its own statistics, so that loss and gradient are those of the slices, not of the
whole batch, and the running statistics follow the mean over the slices. The pairs of the loss are
still those of the whole batch. Evaluation always goes by the running statistics, where no example
sees another.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

import jax

from bigclip.parallel import Rules

Params = Any  # a tree of float32 arrays
# "image": uint8 [b, H, W, 3], "text": int32 [b, L] or, of C captions each, [b, C, L], ...
Examples = dict[str, jax.Array]
Outputs = dict[str, Any]  # what `forward` gives: arrays [b, ...], one row per example
# The one output without batch axis, where there is any: new values of running statistics, as a tree
# with the paths of the parameters that they replace. `objective` does not get it.
STATISTICS = "statistics"


class Forward(Protocol):
    """The type of `Task.forward`."""

    def __call__(
        self,
        params: Params,
        examples: Examples,
        rngs: jax.Array,
        *,
        frozen: Collection[str] = frozenset(),
    ) -> Outputs: ...


class Task(NamedTuple):
    """A method, as the rest of the framework sees it.

    Attributes:
        init: (rng) -> params.
        forward: (params, examples, rngs [b], frozen=()) -> outputs, in training; one key per
            example. None sees another, but for batch normalisation, see above. `frozen` are the
            paths of parameters that do not train: running statistics among them are constants.
        objective: (params, outputs, progress) -> (loss, metrics), on the outputs of the whole
            global batch. `progress` in [0, 1] is the part of the run that is done.
        embed_images: (params, images uint8 [b, H, W, 3]) -> array or tree, leading axis b.
        embed_texts: (params, tokens int32 [b, L]) -> array or tree, leading axis b.
        image_layers: names of the layers that `image_features` gives.
        image_features: (params, images uint8 [b, H, W, 3], layers) -> dict layer -> float32
            [b, ...], for probes; see `bigclip.models.image_features`.
        towers: "image" and "text" -> the top-level branches of the parameters that only
            `embed_images`, or only `embed_texts`, needs. `score` needs none of them.
        score: (params, image outputs [I, ...], text outputs [T, ...]) -> [I, T]; takes what
            `embed_images` and `embed_texts` gave, so that evaluation embeds once and ranks in
            tiles. Larger is a better match.
        constrain: (params) -> params, applied after each update (the clip of the logit scale).
        rules: partition rules that cover every parameter.
        num_captions: C, where each example comes with several texts, [b, C, L]; None where with
            one, [b, L].
        flops_per_example: matrix-product FLOPs of one example's forward pass, all of its texts
            included, without the pairs.
        manifest: what rebuilds the task: its name in `TASKS` and its arguments, as plain data.
    """

    init: Callable[[jax.Array], Params]
    forward: Forward
    objective: Callable[[Params, Outputs, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
    embed_images: Callable[[Params, jax.Array], Any]
    embed_texts: Callable[[Params, jax.Array], Any]
    image_layers: tuple[str, ...]
    image_features: Callable[[Params, jax.Array, tuple[str, ...]], dict[str, jax.Array]]
    towers: dict[str, tuple[str, ...]]
    score: Callable[[Params, Any, Any], jax.Array]
    constrain: Callable[[Params], Params]
    rules: Rules
    num_captions: int | None
    flops_per_example: float
    manifest: dict[str, Any]
