"""Where our parameters lie in the trees of big_vision's `vit`, `text_transformer`, `two_towers`.

Names are those of its modules, as `utils.tree_flatten_with_names` joins them. Its attention comes
from Flax, whose kernels have an axis for the heads.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bigclip.interop.mapping import Row


class Tower(NamedTuple):
    """Where a tower's arrays are.

    Attributes:
        root: what its names begin with, "params/img/".
        scanned: whether all layers are one array each.
        old: whether layers are numbered as before Flax had Linen, as in the ViTs of 2020 and 2021.
        positions: the name of the table of positions behind the root; None if there is none.
    """

    root: str
    scanned: bool = False
    old: bool = False
    positions: str | None = "pos_embedding"


class Layout(NamedTuple):
    """Where the parts of a model are.

    Attributes:
        prefix: what all parameters' names begin with: "params/", "opt/target/" or "".
        image: None without an image tower.
        text: None without a text tower.
    """

    prefix: str
    image: Tower | None
    text: Tower | None


ENCODERS = {"image": "Transformer/", "text": "Encoder_0/"}
# Ours -> theirs, in the names of either time.
_PARTS = {
    "ln_attention": "LayerNorm_0",
    "attention": "MultiHeadDotProductAttention_0",
    "ln_mlp": "LayerNorm_1",
    "mlp": "MlpBlock_0",
}
_OLD_PARTS = {
    "ln_attention": "LayerNorm_0",
    "attention": "MultiHeadDotProductAttention_1",
    "ln_mlp": "LayerNorm_2",
    "mlp": "MlpBlock_3",
}


def parts(tower: Tower) -> dict[str, str]:
    """Name the four parts of a layer."""
    return _OLD_PARTS if tower.old else _PARTS


def rows(arch: Mapping[str, Any], layout: Layout) -> tuple[Row, ...]:
    """Return the table of a file.

    What no row can say is left to the reader and to the writer: an image tower's positions beside
    a class token.

    Args:
        arch: the architecture.
        layout: where its parts are.
    """
    found = [
        Row("log_logit_scale", f"{layout.prefix}t", "scalar"),
        Row("logit_bias", f"{layout.prefix}b", "scalar"),
    ]
    if layout.image is not None:
        found += _image(layout.image, class_token=arch["image"]["pool"] == "class")
    if layout.text is not None:
        found += _text(layout.text)
    return tuple(found)


def _image(tower: Tower, *, class_token: bool) -> list[Row]:
    root = tower.root
    found = [
        Row("image/stem/kernel", f"{root}embedding/kernel"),
        Row("image/stem/bias", f"{root}embedding/bias"),
    ]
    if class_token:
        found += [Row("image/class_token", f"{root}cls", "lead")]
    elif tower.positions is not None:
        found += [Row("image/position", root + tower.positions, "lead")]
    pool = f"{root}MAPHead_0/"
    return [
        *found,
        *_encoder("image", tower),
        Row("image/map_head/probe", f"{pool}probe", "lead"),
        *_attention("image/map_head/attention", f"{pool}{_PARTS['attention']}"),
        *_norm("image/map_head/ln_mlp", f"{pool}LayerNorm_0"),
        *_mlp("image/map_head/mlp", f"{pool}{_PARTS['mlp']}"),
        *_dense("image/projection", f"{root}head"),
    ]


def _text(tower: Tower) -> list[Row]:
    return [
        Row("text/token_embedding", f"{tower.root}Embed_0/embedding"),
        Row("text/position", f"{tower.root}pos_embedding", "lead"),
        *_encoder("text", tower),
        *_dense("text/projection", f"{tower.root}head"),
    ]


def _encoder(branch: str, tower: Tower) -> list[Row]:
    encoder = tower.root + ENCODERS[branch]
    ours = f"{branch}/block_{{}}/"
    theirs = encoder + ("encoderblock/" if tower.scanned else "encoderblock_{}/")
    names = parts(tower)
    return [
        *_norm(f"{ours}ln_attention", theirs + names["ln_attention"]),
        *_attention(f"{ours}attention", theirs + names["attention"]),
        *_norm(f"{ours}ln_mlp", theirs + names["ln_mlp"]),
        *_mlp(f"{ours}mlp", theirs + names["mlp"]),
        *_norm(f"{branch}/ln_post", f"{encoder}encoder_norm"),
    ]


def _attention(ours: str, theirs: str) -> list[Row]:
    found = []
    for name in ("query", "key", "value"):
        found.append(Row(f"{ours}/{name}/kernel", f"{theirs}/{name}/kernel", "heads_in"))
        found.append(Row(f"{ours}/{name}/bias", f"{theirs}/{name}/bias", "heads_bias"))
    found.append(Row(f"{ours}/out/kernel", f"{theirs}/out/kernel", "heads_out"))
    found.append(Row(f"{ours}/out/bias", f"{theirs}/out/bias"))
    return found


def _mlp(ours: str, theirs: str) -> list[Row]:
    return [
        *_dense(f"{ours}/up", f"{theirs}/Dense_0"),
        *_dense(f"{ours}/down", f"{theirs}/Dense_1"),
    ]


def _dense(ours: str, theirs: str) -> list[Row]:
    return [Row(f"{ours}/{name}", f"{theirs}/{name}") for name in ("kernel", "bias")]


def _norm(ours: str, theirs: str) -> list[Row]:
    return [Row(f"{ours}/{name}", f"{theirs}/{name}") for name in ("scale", "bias")]
