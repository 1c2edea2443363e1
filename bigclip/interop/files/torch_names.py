"""The names that a pickle of torch may hold: of storages, of dtypes, and of plain data beside."""

import ml_dtypes
import numpy as np

# torch's names, as storages of one dtype ("torch.FloatStorage") and as dtypes ("torch.float32").
DTYPES = {
    "float64": ("Double", np.dtype("<f8")),
    "float32": ("Float", np.dtype("<f4")),
    "float16": ("Half", np.dtype("<f2")),
    "bfloat16": ("BFloat16", np.dtype(ml_dtypes.bfloat16)),
    "int64": ("Long", np.dtype("<i8")),
    "int32": ("Int", np.dtype("<i4")),
    "int16": ("Short", np.dtype("<i2")),
    "int8": ("Char", np.dtype("i1")),
    "uint8": ("Byte", np.dtype("u1")),
    "bool": ("Bool", np.dtype("?")),
    "complex64": ("ComplexFloat", np.dtype("<c8")),
    "complex128": ("ComplexDouble", np.dtype("<c16")),
    # These have no storage of their own.
    "uint16": ("", np.dtype("<u2")),
    "uint32": ("", np.dtype("<u4")),
    "uint64": ("", np.dtype("<u8")),
    "float8_e4m3fn": ("", np.dtype(ml_dtypes.float8_e4m3fn)),
    "float8_e5m2": ("", np.dtype(ml_dtypes.float8_e5m2)),
    "float8_e4m3fnuz": ("", np.dtype(ml_dtypes.float8_e4m3fnuz)),
    "float8_e5m2fnuz": ("", np.dtype(ml_dtypes.float8_e5m2fnuz)),
    "float8_e8m0fnu": ("", np.dtype(ml_dtypes.float8_e8m0fnu)),
}

STORAGES = {f"torch.{storage}Storage": dtype for storage, dtype in DTYPES.values() if storage}
STORAGES |= {"torch.UntypedStorage": None, "torch.storage.UntypedStorage": None}
NAMED_DTYPES = {f"torch.{name}": dtype for name, (_, dtype) in DTYPES.items()}

# Plain data that lies beside the weights; kept as `Opaque`.
INERT = frozenset(
    (
        *("argparse.Namespace", "types.SimpleNamespace", "copyreg._reconstructor"),
        *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath"),
        *("pathlib._local.Path", "pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
        *("datetime.datetime", "datetime.date", "datetime.timedelta", "_codecs.encode"),
        *("builtins.set", "builtins.frozenset", "builtins.object", "builtins.complex"),
        *(
            "builtins.bytes",
            "builtins.list",
            "builtins.dict",
            "builtins.int",
            "builtins.float",
            "builtins.slice",
        ),
        *(
            "__builtin__.set",
            "__builtin__.frozenset",
            "__builtin__.bytes",
            "__builtin__.object",
            "__builtin__.list",
        ),
        *("__builtin__.dict", "__builtin__.int", "__builtin__.float", "__builtin__.slice"),
        *("numpy.dtype", "numpy.ndarray", "numpy.random._pickle.__randomstate_ctor"),
        *("numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct"),
        *("numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct"),
        *("torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter"),
        *("torch.nn.parameter.Buffer", "torch.serialization._get_layout"),
        *("torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_tensor"),
        *("torch._utils._rebuild_meta_tensor_no_storage", "torch._utils._rebuild_nested_tensor"),
        *("torch._utils._rebuild_wrapper_subclass", "torch.per_tensor_affine"),
        *("torch.per_channel_affine", "torch.quint8", "torch.qint8", "torch.qint32"),
        *("torch.QInt8Storage", "torch.QUInt8Storage", "torch.QInt32Storage"),
        *("torch.jit._pickle.build_intlist", "torch.jit._pickle.build_doublelist"),
        *("torch.jit._pickle.build_boollist", "torch.jit._pickle.build_tensorlist"),
        *("torch.jit._pickle.build_tensor_from_id", "torch.jit._pickle.restore_type_tag"),
    )
)
