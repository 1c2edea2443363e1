"""How fast a run is, and how much of the machine it uses."""

import resource
import sys
import time

import jax

# Peak dense bfloat16 FLOP/s of one chip, by the start of JAX's `device_kind`; from the makers'
# data sheets. The first that fits counts.
PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v6": 918e12,
    "TPU7x": 2307e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
}


def peak_flops(device: jax.Device) -> float | None:
    """Peak bfloat16 FLOP/s of a device, or None where it is not known (a CPU)."""
    return next(
        (peak for kind, peak in PEAK_FLOPS.items() if device.device_kind.startswith(kind)), None
    )


def memory() -> dict[str, float]:
    """Peak memory so far, in bytes: of the first local device if it tells, and of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"host_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        found["memory_bytes"] = stats["peak_bytes_in_use"]
    return found


class Meter:
    """Measures the steps between two readings.

    Args:
        batch_size: B.
        flops_per_example: forward matrix-product FLOPs that the towers need (of a last layer that
            is pooled at one token, those of that token); a step counts three times that (the
            backward pass is two), whatever is recomputed: these are model FLOPs.
    """

    def __init__(self, *, batch_size: int, flops_per_example: float):
        self._batch_size = batch_size
        self._flops = 3 * flops_per_example
        self._num_chips = jax.device_count()
        self._peak = peak_flops(jax.devices()[0])
        self._waited = 0.0
        self._since = time.perf_counter()

    def waited(self, seconds: float) -> None:
        """Tell how long the loop waited for data."""
        self._waited += seconds

    def restart(self) -> None:
        """Forget the time since the last reading (compilation, a blocking save)."""
        self._waited, self._since = 0.0, time.perf_counter()

    def read(self, num_steps: int) -> dict[str, float]:
        """Rates over the `num_steps` since the last reading; call it when they are done."""
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        rate = num_steps * self._batch_size / elapsed
        found = {
            "examples_per_second": rate,
            "examples_per_second_per_chip": rate / self._num_chips,
            "seconds_per_step": elapsed / max(num_steps, 1),
            "data_wait_fraction": min(self._waited / elapsed, 1.0),
            "model_flops_per_second": rate * self._flops,
        }
        if self._peak:
            found["mfu"] = rate * self._flops / (self._peak * self._num_chips)
        self.restart()
        return found
