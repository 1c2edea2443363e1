"""Live, against torch and safetensors: what they write is read, and what is written they read."""

import collections
import zipfile

import ml_dtypes
import numpy as np
import pytest
from archives import assert_holds, odd_arrays, specs_of

from bigclip.config import ConfigError
from bigclip.interop.files import open_weights, write_safetensors, write_torch

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch", reason="needs torch: pip install bigclip[peers]")

# Of the same width, for bit patterns of dtypes that numpy does not know.
_BITS = {
    torch.bfloat16: (torch.int16, ml_dtypes.bfloat16),
    torch.float8_e4m3fn: (torch.uint8, ml_dtypes.float8_e4m3fn),
    torch.float8_e5m2: (torch.uint8, ml_dtypes.float8_e5m2),
}


def as_numpy(tensor) -> np.ndarray:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype in _BITS:
        bits, dtype = _BITS[tensor.dtype]
        return tensor.view(bits).numpy().view(dtype)
    return tensor.numpy()


def same(weights, state) -> None:
    assert_holds(weights, {name: as_numpy(tensor) for name, tensor in state.items()})


def odd_state():
    base = torch.randn(4, 5, 6)
    big = torch.zeros(1000)
    return {
        "plain": torch.randn(3, 4),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "buffer": torch.nn.Buffer(torch.arange(4)),
        "scalar": torch.tensor(3.5),
        "scalar_view": base[1, 2, 3],
        "empty": torch.zeros(0, 3),
        "empty_view": base[:, 2:2],
        "view": base[1:3, ::2],
        "permuted": base.permute(2, 0, 1),
        "transposed": base[0].t(),
        "diagonal": torch.randn(5, 5).diagonal(),
        "expanded": torch.arange(7).expand(1, 7),
        "tail": big[990:],
        "same": base,
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        **{
            str(dtype): torch.randn(9).abs().to(dtype)
            for dtype in (
                *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
                *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
                *(torch.uint16, torch.uint32, torch.uint64, torch.complex64, torch.complex128),
                *(torch.float8_e4m3fn, torch.float8_e5m2),
            )
        },
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_what_torch_saves(tmp_path, protocol):
    state = odd_state()
    torch.save(state, tmp_path / "x.pt", pickle_protocol=protocol)
    same(open_weights(tmp_path / "x.pt"), state)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8), "no plain tensor"),
        (lambda: torch.eye(3).to_sparse(), "no plain tensor"),
        (lambda: torch.zeros(1).expand(5), r"share memory.*contiguous\(\)"),
        (lambda: torch.arange(10.0).unfold(0, 4, 3), "share memory"),
        (lambda: torch.zeros(3, device="meta"), "no plain tensor"),
        # What is in the file is not yet what it stands for.
        (lambda: torch.ones(3, dtype=torch.complex64).conj(), "conjugated or negated lazily"),
        (lambda: torch.ones(3, dtype=torch.complex64).conj().imag, "conjugated or negated lazily"),
    ],
)
def test_refuses_what_has_no_plain_elements(tmp_path, value, message):
    torch.save({"w": value(), "plain": torch.zeros(3)}, tmp_path / "x.pt")
    with pytest.raises(ConfigError, match=message):
        open_weights(tmp_path / "x.pt")


def test_state_dict_of_a_model_wrapped_and_compiled(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4))
    torch.save(torch.nn.DataParallel(model).state_dict(), tmp_path / "x.pt")
    same(open_weights(tmp_path / "x.pt"), model.state_dict())


def test_training_checkpoint_with_all_that_lies_beside(tmp_path):
    model = torch.nn.Linear(3, 4)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 7,
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
        "rng": [torch.get_rng_state(), np.random.get_state()],
        "loss": np.float32(0.5),
        "counts": collections.Counter("abc"),
        "nested": collections.defaultdict(list, a=[1, 2.5, None]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "size": torch.Size([1, 2]),
        "bytes": b"abc",
        "big": 1 << 100,
    }
    for protocol in (2, 4):
        torch.save(checkpoint, tmp_path / "x.pt", pickle_protocol=protocol)
        weights = open_weights(tmp_path / "x.pt")
        same(weights, model.state_dict())
        assert weights.metadata == {"epoch": "7", "big": str(1 << 100)}


class Branch(torch.nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.project = torch.nn.Linear(width, width, bias=False)
        self.register_buffer("running", torch.arange(width))
        self.width = width

    def forward(self, x):
        return self.project(x) * self.width


class Tree(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.branches = torch.nn.ModuleDict({"left": Branch(3), "right": Branch(3)})
        self.again = self.branches["left"].project
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        x = self.branches["left"](x) + self.branches["right"](x)
        return self.again(x) * self.scale


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("make", ["script", "trace"])
def test_torchscript(tmp_path, make, half):
    tree = Tree().eval()
    module = torch.jit.trace(tree, torch.ones(1, 3)) if make == "trace" else torch.jit.script(tree)
    module = module.half() if half else module
    module.save(str(tmp_path / "x.pt"))
    weights = open_weights(tmp_path / "x.pt")
    same(weights, module.state_dict())
    assert weights["branches.left.project.weight"].dtype == np.dtype("f2" if half else "f4")


def test_frozen_torchscript_has_constants_and_no_weights(tmp_path):
    module = torch.jit.freeze(torch.jit.trace(Tree().eval(), torch.ones(1, 3)))
    module.save(str(tmp_path / "x.pt"))
    with pytest.raises(ConfigError, match="holds no tensors"):
        open_weights(tmp_path / "x.pt")


def test_archive_as_openai_released_them(tmp_path):
    """Their model, in half precision but for its norms, traced and saved."""
    from bigclip.interop.torchvision_import import import_torchvision

    import_torchvision()  # whose CUDA build fails on import here; `clip` imports it
    clip = pytest.importorskip("clip.model", reason="needs openai/CLIP: pip install clip-anytorch")
    sizes = {"vision_layers": 2, "vision_width": 64, "vision_patch_size": 8}
    sizes |= {"context_length": 7, "vocab_size": 11, "transformer_width": 32}
    model = clip.CLIP(
        embed_dim=16, image_resolution=16, **sizes, transformer_heads=2, transformer_layers=1
    ).eval()
    clip.convert_weights(model)
    inputs = torch.zeros(1, 3, 16, 16), torch.zeros(1, 7, dtype=torch.int64)
    traced = torch.jit.trace(model, inputs, check_trace=False)
    torch.jit.save(traced, str(tmp_path / "x.pt"))
    weights = open_weights(tmp_path / "x.pt")
    same(weights, traced.state_dict())
    projection = weights["visual.transformer.resblocks.1.attn.in_proj_weight"]
    assert (projection.shape, projection.dtype) == ((192, 64), np.float16)
    assert weights["transformer.resblocks.0.ln_1.weight"].dtype == np.float32


def test_torch_reads_what_is_written(tmp_path):
    arrays = odd_arrays()
    write_torch(tmp_path / "x.pt", specs_of(arrays), reversed(arrays.items()))
    for mmap in (False, True):
        state = torch.load(tmp_path / "x.pt", weights_only=True, mmap=mmap)
        assert list(state) == list(arrays)
        for name, array in arrays.items():
            read = as_numpy(state[name])
            assert (read.shape, read.dtype) == (array.shape, array.dtype)
            assert read.tobytes() == array.tobytes()
    model = torch.nn.Linear(3, 2)
    linear = {name: as_numpy(value) + 1 for name, value in model.state_dict().items()}
    write_torch(tmp_path / "linear.pt", specs_of(linear), linear.items())
    model.load_state_dict(torch.load(tmp_path / "linear.pt", weights_only=True))
    assert_holds(open_weights(tmp_path / "linear.pt"), linear)
    assert model.weight.detach().numpy().tobytes() == linear["weight"].tobytes()


def test_checksums_that_torch_was_told_to_leave_out(tmp_path):
    state = {"w": torch.randn(5)}
    computed = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "x.pt")
    finally:
        torch.serialization.set_crc32_options(computed)
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert archive.testzip() is not None
    same(open_weights(tmp_path / "x.pt"), state)


def test_a_damaged_weight_is_found(tmp_path):
    torch.save({"w": torch.arange(1000.0)}, tmp_path / "x.pt")
    content = bytearray((tmp_path / "x.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "x.pt").write_bytes(content)
    weights = open_weights(tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="damaged"):
        weights["w"].read()


def test_safetensors_both_ways(tmp_path):
    library = pytest.importorskip(
        "safetensors.torch", reason="needs safetensors: pip install bigclip[peers]"
    )
    state = {
        name: tensor.contiguous().clone()
        for name, tensor in odd_state().items()
        if tensor.dtype != torch.complex128
    }
    library.save_file(state, tmp_path / "theirs", metadata={"format": "pt"})
    weights = open_weights(tmp_path / "theirs")
    same(weights, state)
    assert weights.metadata == {"format": "pt"}

    arrays = {name: tensor.read() for name, tensor in weights.items()}
    specs = specs_of(arrays)
    write_safetensors(tmp_path / "ours", specs, arrays.items(), metadata=weights.metadata)
    read = library.load_file(tmp_path / "ours")
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype
        assert as_numpy(read[name]).tobytes() == as_numpy(tensor).tobytes(), name
    from safetensors import safe_open

    with safe_open(tmp_path / "ours", "pt") as file:
        assert file.metadata() == {"format": "pt"}
