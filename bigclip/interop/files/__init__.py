"""Files of weights, read and written array by array, whoever made them.

`open_weights` reads safetensors, zip archives of torch (TorchScript included) and numpy's .npz,
also in shards; it executes nothing, and trusts no size or name that the file claims.
`write_safetensors`, `write_torch` and `write_npz` write them; none of it needs torch.
"""

from bigclip.interop.files.npz_writing import write_npz
from bigclip.interop.files.opening import open_weights
from bigclip.interop.files.safetensors_writing import write_safetensors
from bigclip.interop.files.tensors import Spec, Tensor, Weights
from bigclip.interop.files.torch_writing import write_torch

__all__ = [
    "Spec",
    "Tensor",
    "Weights",
    "open_weights",
    "write_npz",
    "write_safetensors",
    "write_torch",
]
