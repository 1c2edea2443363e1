"""How the towers' parameters lie on a mesh.

A transformer block's two products in a row are split along their inner dimension over `tensor`
(heads, and the MLP's hidden units), so that one sum over `tensor` per pair suffices; the other
dimension of each matrix is sharded over `fsdp`, and gathered layer by layer when it is used.
Patterns match the whole path behind the tower's name; specs are aligned to the right, so that
they also hold for scanned layers, which have a leading layer axis. Convolutions are sharded over
`fsdp` by their output channels; they are not split over `tensor`.
"""

from bigclip.parallel.rules import Rules

PARTITION_RULES: Rules = (
    (r".*/(query|key|value|up)/kernel", ("fsdp", "tensor")),
    (r".*/(query|key|value|up)/bias", ("tensor",)),
    (r".*/(out|down)/kernel", ("tensor", "fsdp")),
    (r".*/token_embedding", ("tensor", "fsdp")),
    (r".*/projection/kernel", ("fsdp", None)),
    (r".*/(stem|stage_\d+)/(.*/)?kernel", (None, "fsdp")),
    # Vectors and tables of positions: small, and every device needs all of them.
    (r".*/(scale|bias|running_mean|running_var|position|class_token|probe)", ()),
)
