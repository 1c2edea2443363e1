"""What one chip of each kind can do, by its maker's word.

Sources. TPU: cloud.google.com/tpu/docs/v4, v5e, v5p, v6e, tpu7x (system architecture): matrix
FLOP/s, HBM, and the ICI bandwidth of a chip divided by its links. One direction of a link is what
these pages' bisection bandwidth implies: a v5e pod of 16 x 16 bisects at 1.6 TB/s over 32 links,
50 GB/s each. Network outside of the slice: NICs of a host divided by its chips (v5e: 25 Gbit/s a
chip, v6e: 100 Gbit/s; 50 Gbit/s for v4, v5p and tpu7x is an assumption). GPU: NVIDIA's data
sheets (SXM boards, dense bfloat16), one 200 or 400 Gbit/s NIC a GPU.

`limit_bytes` of a TPU is what the compiler itself calls available in its out-of-memory error
(libtpu 0.0.42), for one device; of a GPU, the three quarters that JAX takes by default.
"""

from typing import NamedTuple

from bigclip.config import choose
from bigclip.training.throughput import PEAK_FLOPS

_GIB = 2**30


class Chip(NamedTuple):
    """Facts of one kind of chip. Where a chip shows as two devices, the figures are per device.

    Attributes:
        name: what `--topology` calls it.
        label: its name in tables.
        kind: "tpu" or "gpu".
        peak_flops: dense bfloat16 FLOP/s.
        hbm_bytes_per_second: memory bandwidth.
        limit_bytes: memory that a program may use.
        link_bytes_per_second: one direction of one link (GPU: NVLink, all links of the GPU).
        dcn_bytes_per_second: network outside of the slice (GPU: of the node), one direction.
        torus_axes: 2 or 3, the dimensions of the torus (GPU: 1, a switch).
        devices_per_chip: as JAX counts.
        node_size: GPUs that share a switch; 0 for a TPU.
        chip_config: option of the TPU compiler; None leaves it to it.
    """

    name: str
    label: str
    kind: str
    peak_flops: float
    hbm_bytes_per_second: float
    limit_bytes: int
    link_bytes_per_second: float
    dcn_bytes_per_second: float
    torus_axes: int = 1
    devices_per_chip: int = 1
    node_size: int = 0
    chip_config: str | None = None


def _gpu(name: str, model: str, gb: float, hbm: float, nvlink: float, nic: float) -> Chip:
    return Chip(
        name=name,
        label=f"NVIDIA {name.upper()}",
        kind="gpu",
        peak_flops=PEAK_FLOPS[model],
        hbm_bytes_per_second=hbm,
        limit_bytes=int(0.75 * gb * 1e9),
        link_bytes_per_second=nvlink,
        dcn_bytes_per_second=nic,
        node_size=8,
    )


CHIPS = {
    chip.name: chip
    for chip in (
        # Both cores of a v4 chip act as one device ("megacore"), as on a real slice.
        Chip("v4", "TPU v4", "tpu", PEAK_FLOPS["TPU v4"], 1.2e12, int(30.75 * _GIB),
             50e9, 6.25e9, torus_axes=3, chip_config="megacore"),
        Chip("v5e", "TPU v5e", "tpu", PEAK_FLOPS["TPU v5e"], 8.0e11, int(15.75 * _GIB),
             50e9, 3.125e9, torus_axes=2),
        Chip("v5p", "TPU v5p", "tpu", PEAK_FLOPS["TPU v5"], 2.765e12, int(95.74 * _GIB),
             100e9, 6.25e9, torus_axes=3),
        Chip("v6e", "TPU v6e", "tpu", PEAK_FLOPS["TPU v6"], 1.6e12, int(31.25 * _GIB),
             100e9, 12.5e9, torus_axes=2),
        # Two devices a chip, which share its links.
        Chip("tpu7x", "TPU7x", "tpu", PEAK_FLOPS["TPU7x"] / 2, 7.37e12 / 2, int(94.75 * _GIB),
             100e9 / 2, 6.25e9 / 2, torus_axes=3, devices_per_chip=2),
        _gpu("a100-80", "NVIDIA A100", 80, 2.039e12, 300e9, 25e9),
        _gpu("h100", "NVIDIA H100", 80, 3.35e12, 450e9, 50e9),
        _gpu("h200", "NVIDIA H200", 141, 4.8e12, 450e9, 50e9),
        _gpu("b200", "NVIDIA B200", 180, 7.7e12, 900e9, 50e9),
    )
}  # fmt: skip


def find_chip(topology: str) -> tuple[Chip, str]:
    """Split "v5e:16x16" or "h100:64" into the chip's facts and the shape behind the colon.

    Raises:
        ConfigError: for an unknown chip; names the nearest and lists all.
    """
    name, _, shape = topology.partition(":")
    return choose(name, CHIPS, "--topology"), shape
