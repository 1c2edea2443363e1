"""How fast a step can be at best, and at worst if nothing overlaps.

    compute   hardware FLOPs of one device, in bfloat16 passes / its peak bfloat16 FLOP/s
    hbm       bytes read and written in main memory / its bandwidth
    ici       for each collective, bytes sent by one chip / the links it can use: both ways round
              each torus axis that its group spans, one way where the axis does not close, and one
              link times the distance for a permutation
    dcn       bytes sent between slices / a chip's share of its host's network

The roofline is the longest of the four: all of them overlap perfectly. The serial time is the
longer of compute and hbm plus both networks: what is sent is waited for. A real step lies between
them, or above: no kernel runs at the peak.
"""

from typing import NamedTuple

from bigclip.planning.chips import Chip


class Roofline(NamedTuple):
    """Seconds of a step, part by part.

    Attributes:
        compute: of matrix products.
        hbm: of main memory.
        ici: of the links inside a slice.
        dcn: of the network between slices.
    """

    compute: float
    hbm: float
    ici: float
    dcn: float

    @property
    def seconds(self) -> float:
        """Everything overlaps."""
        return max(self)

    @property
    def serial_seconds(self) -> float:
        """No communication overlaps."""
        return max(self.compute, self.hbm) + self.ici + self.dcn

    @property
    def bound(self) -> str:
        """What decides."""
        return max(self._fields, key=lambda name: getattr(self, name))


def roofline(
    chip: Chip,
    *,
    num_devices: int,
    hardware_flops: float,
    hbm_bytes: float,
    ici_seconds: float,
    dcn_seconds: float,
) -> Roofline:
    """Bound a step's time from below.

    Args:
        chip: the facts.
        num_devices: devices that share the FLOPs.
        hardware_flops: over all devices, in bfloat16 passes (see `flops.Counted`).
        hbm_bytes: of one device.
        ici_seconds: of one device, see `traffic`.
        dcn_seconds: likewise.
    """
    return Roofline(
        compute=hardware_flops / num_devices / chip.peak_flops,
        hbm=hbm_bytes / chip.hbm_bytes_per_second,
        ici=ici_seconds,
        dcn=dcn_seconds,
    )
