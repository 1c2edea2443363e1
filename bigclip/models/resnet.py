"""The other image tower: CLIP's ResNets."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from bigclip.config import choose
from bigclip.models.attention_pool import AttentionPool
from bigclip.models.batch_norm import BATCH_NORMS, BatchNorm
from bigclip.models.init import initializers
from bigclip.models.remat import remat_block
from bigclip.models.stems import check_size
from bigclip.parallel.activations import shard_batch

NUM_STAGES = 4
STRIDE = 32  # pixels of a position of the last feature map
EXPANSION = 4  # channels that leave a block, in channels inside it


class BlockShape(NamedTuple):
    """The sizes of a bottleneck block.

    Attributes:
        inputs: channels that enter.
        planes: channels inside; `EXPANSION` times as many leave.
        stride: of the block, 1 or 2.
    """

    inputs: int
    planes: int
    stride: int

    @property
    def outputs(self) -> int:
        """Channels that leave."""
        return EXPANSION * self.planes

    @property
    def has_shortcut(self) -> bool:
        """Whether what is added to the block's result passes a convolution first."""
        return self.stride > 1 or self.inputs != self.outputs


def block_shapes(stages: Sequence[int], width: int) -> Iterator[list[BlockShape]]:
    """Yield the blocks of each stage of a tower with that many blocks a stage."""
    inputs = width
    for index, depth in enumerate(stages):
        planes, blocks = width << index, []
        for number in range(depth):
            stride = 2 if index > 0 and number == 0 else 1
            blocks.append(BlockShape(inputs, planes, stride))
            inputs = blocks[-1].outputs
        yield blocks


class _Normed(nn.Module):
    """What a module made of convolutions and batch normalisations shares."""

    bn_eps: float
    init_scheme: str  # a key of init.SCHEMES
    training: bool  # see BatchNorm
    frozen: Collection[str]  # see BatchNorm
    dtype: Any

    def _conv(
        self, x: jax.Array, outputs: int, size: int, name: str, *, stride: int = 1
    ) -> jax.Array:
        inits = initializers(self.init_scheme, width=outputs, depth=1, mlp_width=outputs)
        conv = nn.Conv(
            outputs,
            (size, size),
            strides=stride,
            padding=size // 2,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=inits.patch_kernel,
            name=name,
        )
        # Also of the gradient: else the partitioner cuts it like the kernel, by its channels.
        return shard_batch(conv(x))

    def _norm(self, x: jax.Array, name: str, *, zero_scale: bool = False) -> jax.Array:
        return BatchNorm(
            self.bn_eps,
            training=self.training,
            frozen=self.frozen,
            zero_scale=zero_scale,
            name=name,
        )(x)


def _halve(x: jax.Array) -> jax.Array:
    """Average 2 x 2 pixels: the blur that comes before what would be a strided convolution."""
    return nn.avg_pool(x, (2, 2), strides=(2, 2))


class ResNetStem(_Normed):
    """Three 3 x 3 convolutions, the first of stride 2, and an average pool."""

    width: int  # channels that leave

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Map [b, H, W, 3] to [b, H / 4, W / 4, width]."""
        x = images.astype(self.dtype)
        half = self.width // 2
        for index, (outputs, stride) in enumerate(((half, 2), (half, 1), (self.width, 1))):
            x = self._conv(x, outputs, 3, f"conv_{index}", stride=stride)
            x = nn.relu(self._norm(x, f"bn_{index}"))
        return _halve(x)


class Bottleneck(_Normed):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut; strides are average pools."""

    shape: BlockShape

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [b, H, W, inputs] to [b, H / stride, W / stride, outputs]."""
        planes, outputs = self.shape.planes, self.shape.outputs
        y = nn.relu(self._norm(self._conv(x, planes, 1, "conv_0"), "bn_0"))
        y = nn.relu(self._norm(self._conv(y, planes, 3, "conv_1"), "bn_1"))
        if self.shape.stride > 1:
            x, y = _halve(x), _halve(y)
        # A block starts as its shortcut: its own result is scaled by 0.
        y = self._norm(self._conv(y, outputs, 1, "conv_2"), "bn_2", zero_scale=True)
        if self.shape.has_shortcut:
            x = self._norm(self._conv(x, outputs, 1, "shortcut_conv"), "shortcut_bn")
        return shard_batch(nn.relu(x + y))


class Stage(nn.Module):
    """The blocks of one resolution."""

    shapes: Sequence[BlockShape]
    remat: str  # a key of remat.POLICIES
    fields: dict[str, Any]  # of _Normed

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map a feature map [b, H, W, C] to the next."""
        block = remat_block(Bottleneck, self.remat, scan=False)
        for index, shape in enumerate(self.shapes):
            x = block(shape=shape, **self.fields, name=f"block_{index:02d}")(x)
        if self.is_mutable_collection("intermediates"):  # a probe asks, see `models.features`
            self.sow("intermediates", "output", x.astype(jnp.float32).mean(axis=(1, 2)))
        return x


class ModifiedResNet(nn.Module):
    """Embed images by a convolutional network.

    Source: Radford et al. 2021, arXiv 2103.00020, section 2.4, with its changes to ResNet-D
    (arXiv 1812.01187): a stem of three convolutions, average pools instead of strides
    (arXiv 1904.11486), and attention pooling.

    Parameters (w width, D embedding): `stem/conv_0` to `conv_2` and `stem/bn_0` to `bn_2`;
    `stage_0/block_00/conv_0` to `conv_2`, `bn_0` to `bn_2` and, in the first block of a stage,
    `shortcut_conv` and `shortcut_bn`; `attention_pool/*`. Kernels are [h, w, in, out]; a
    normalisation has `scale`, `bias`, `running_mean` and `running_var`.
    """

    embed_dim: int  # D
    image_size: int  # H = W, pixels, a multiple of STRIDE
    stages: Sequence[int]  # blocks of each of the four
    width: int  # w, channels of the stem; 32 w leave the last stage
    num_heads: int  # of the attention pool
    batch_norm: str = "batch"  # one of BATCH_NORMS, of training
    bn_eps: float = 1e-5
    init_scheme: str = "clip"
    dtype: Any = jnp.bfloat16  # of the computation; parameters and statistics are float32
    remat: str = "none"  # of each block

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        training: bool = False,
        frozen: Collection[str] = frozenset(),
        with_tokens: bool = False,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Embed normalised images.

        Args:
            images: float [b, H, W, 3].
            training: normalise by the statistics of the batch, if `batch_norm` says so. Then an
                example's embedding depends on the others, and the new running statistics are left
                in the collection "statistics", which must be mutable.
            frozen: paths of parameters of this tower that do not train: a normalisation whose
                running statistics are among them goes by these, and does not change them.
            with_tokens: return the last feature map, too.

        Returns:
            The embeddings, float32 [b, D], not normalised, and intermediates: `pooled` float32
            [b, D], which is what the attention pool gives, the embedding itself, and, where asked
            for, `tokens` [b, P, 32 w], the last feature map.

        Raises:
            ValueError: the images are not of the size that the tower was built for.
        """
        check_size(images, self.image_size)
        choose(self.batch_norm, dict.fromkeys(BATCH_NORMS), "image.batch_norm")
        fields = {
            "bn_eps": self.bn_eps,
            "init_scheme": self.init_scheme,
            "training": training and self.batch_norm == "batch",
            "frozen": frozenset(frozen),
            "dtype": self.dtype,
        }
        x = shard_batch(ResNetStem(width=self.width, **fields, name="stem")(images))
        for index, shapes in enumerate(block_shapes(self.stages, self.width)):
            x = Stage(tuple(shapes), self.remat, fields, name=f"stage_{index}")(x)
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])  # [b, P, 32 w]
        emb = AttentionPool(
            self.embed_dim,
            self.num_heads,
            init_scheme=self.init_scheme,
            dtype=self.dtype,
            name="attention_pool",
        )(tokens)
        inner = {"pooled": emb}
        if with_tokens:
            inner["tokens"] = tokens
        return emb, inner
