"""A side that compiles a step for a pod with libtpu: bigclip's, or big_vision's."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.big_vision_model import big_vision_model
from benchmarks.big_vision_step import big_vision_step
from benchmarks.bigclip_step import parts_without_data
from benchmarks.workers import serve
from bigclip.planning.accesses import bytes_accessed
from bigclip.planning.compiled import Compiled, compile_step, compile_traced
from bigclip.planning.hlo import read_program
from bigclip.planning.topology import Pod, make_pod
from bigclip.planning.traffic import Network, collectives, summarise


class Compiler:
    """Compiles one program a process, so that its time and memory are its own."""

    def bigclip(self, *, config: dict[str, Any], topology: str) -> dict[str, Any]:
        """Compile the step of a configuration, plain data; see `_figures`."""
        pod = make_pod(topology)
        parts = parts_without_data(config, devices=pod.devices)

        def build() -> Compiled:
            return compile_step(
                parts.task,
                parts.rule,
                parts.mesh,
                batch_size=parts.batch_size,
                micro_batch_size=parts.micro_batch_size,
                ema_decay=parts.ema_decay,
                seed=parts.seed,
            )

        return _figures(build, pod, list(parts.mesh.devices.flat))

    def big_vision(
        self,
        *,
        clone: str,
        arch: dict[str, Any],
        settings: dict[str, Any],
        optimizer: dict[str, Any],
        batch_size: int,
        total_steps: int,
        topology: str,
    ) -> dict[str, Any]:
        """Compile its trainer's update; see `_figures`.

        Args:
            clone: path.
            arch: an architecture of bigclip's.
            settings: further arguments of `big_vision_model`.
            optimizer: see `big_vision_step`.
            batch_size: B.
            total_steps: of the schedule.
            topology: of the pod.
        """
        pod = make_pod(topology)
        step = big_vision_step(
            clone,
            model=big_vision_model(arch, **settings),
            optimizer=optimizer,
            image_size=arch["image"]["image_size"],
            context_length=arch["text"]["context_length"],
            batch_size=batch_size,
            total_steps=total_steps,
            devices=pod.devices,
        )

        def build() -> Compiled:
            rng = jax.ShapeDtypeStruct((2,), jnp.uint32)
            with step.context():
                return compile_traced(step.update.trace(step.state_shapes, rng, step.batch_shapes))

        return _figures(build, pod, pod.devices)


def _figures(build: Callable[[], Compiled], pod: Pod, devices: list[jax.Device]) -> dict[str, Any]:
    """Compile, and read what the compiler made.

    Returns:
        `fits`; `hbm_bytes` of one chip (what was asked for, where it does not fit),
        `temporary_bytes` of them, `bytes_accessed` in its main memory and `collectives` (see
        `summarise`) a step, all None where it does not fit; `seconds` and `cpu_seconds` of
        tracing and compiling.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    compiled = build()
    spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    found: Mapping[str, Any] = {
        "temporary_bytes": None,
        "bytes_accessed": None,
        "collectives": None,
    }
    if compiled.fits:
        program = read_program(compiled.text)
        network = Network(
            coords=np.asarray([device.coords[: len(pod.shape)] for device in devices]),
            shape=pod.shape,
            wraps=pod.wraps,
            link_bytes_per_second=pod.chip.link_bytes_per_second,
            dcn_bytes_per_second=pod.chip.dcn_bytes_per_second,
            num_slices=pod.num_slices,
        )
        found = {
            "temporary_bytes": compiled.memory.temporaries,
            "bytes_accessed": bytes_accessed(program),
            "collectives": summarise(collectives(program, network)),
        }
    return {
        "fits": compiled.fits,
        "hbm_bytes": compiled.memory.total if compiled.fits else compiled.asked_bytes,
        "limit_bytes": pod.chip.limit_bytes,
        "hardware_flops": compiled.flops.flops,
        "num_chips": pod.num_chips,
        **found,
        **spent,
    }


if __name__ == "__main__":
    serve(Compiler())
