"""What learns: pure functions around one parameter tree.

The cut between `forward` and `objective` carries the whole framework. `forward` never lets one
example see another, so that it may be scanned over micro-batches, recomputed, and sharded by
partition rules alone. `objective` never touches pixels or tokens, so that all pairs of a global
batch meet there at the price of their embeddings.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bigclip.parallel import Rules

Params = Any  # a tree of float32 arrays
Examples = dict[str, jax.Array]  # "image": uint8 [b, H, W, 3], "text": int32 [b, L], ...
Outputs = dict[str, jax.Array]  # what `forward` gives per example, leading axis b


class Task(NamedTuple):
    """A method, as the rest of the framework sees it.

    Attributes:
        init: (rng) -> params.
        forward: (params, examples, rngs [b]) -> outputs; one key per example. None sees another.
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
        flops_per_example: matrix-product FLOPs of one example's forward pass, without the pairs.
        manifest: what rebuilds the task: its name in `TASKS` and its arguments, as plain data.
    """

    init: Callable[[jax.Array], Params]
    forward: Callable[[Params, Examples, jax.Array], Outputs]
    objective: Callable[[Params, Outputs, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
    embed_images: Callable[[Params, jax.Array], Any]
    embed_texts: Callable[[Params, jax.Array], Any]
    image_layers: tuple[str, ...]
    image_features: Callable[[Params, jax.Array, tuple[str, ...]], dict[str, jax.Array]]
    towers: dict[str, tuple[str, ...]]
    score: Callable[[Params, Any, Any], jax.Array]
    constrain: Callable[[Params], Params]
    rules: Rules
    flops_per_example: float
    manifest: dict[str, Any]
