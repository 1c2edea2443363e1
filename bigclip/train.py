"""Train: `python -m bigclip.train --config configs/quickstart.py --workdir runs/quickstart`.

Any value of the configuration can be changed on the command line:
`--config.batch_size=512 --config.optimizer.learning_rate=3e-4`; `--config file.py:arg` passes an
argument to the file's `get_config`. The same command resumes a run that was stopped. Exit code 42
means "restart me": the run was asked to stop (SIGTERM) and has saved, or has lost its data or a
data worker, and goes on when started again.

On several hosts, start the same command on each: on Slurm, GKE and TPU slices the processes find
each other; elsewhere add `--coordinator_address=HOST:PORT --num_processes=N --process_id=I`. The
workdir is one that all hosts share. SIGTERM to one process stops all at the same step, with 42. If
one dies, the others end by themselves, with 42 or by SIGABRT, within `--heartbeat_timeout_seconds`;
start all again, in whatever number.
"""

import hashlib
import json
import logging
import shlex
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import app, flags
from absl import logging as absl_logging
from clu import parameter_overview
from ml_collections import config_flags
from rich import print as rich_print

from bigclip import checkpoints
from bigclip.config import ConfigError, call, parse_config_flags
from bigclip.data.batches import Batches, DataLost
from bigclip.evals.suites import check_suites
from bigclip.parallel import HostRows, agree, batch_sharding, host_rows, is_main, processes
from bigclip.training.experiment import Experiment, experiment, run_manifest
from bigclip.training.groups import constants, group_table
from bigclip.training.initial.plan import plan_start
from bigclip.training.initial.state import initial_state
from bigclip.training.jitted import jit_step, state_layout
from bigclip.training.progress import ProgressLine, duration
from bigclip.training.state import TrainState
from bigclip.training.stopping import RESTART_EXIT_CODE, StopSignal
from bigclip.training.throughput import Meter, memory
from bigclip.training.workdir import Workdir
from bigclip.training.writers import MetricWriter

# What the step needs of a batch; the rest tells where it came from, for messages.
_HOST_ONLY = ("record", "bad")


def _begin(parts: Experiment, workdir: Workdir) -> tuple[TrainState, TrainState, dict[str, Any]]:
    """Restore the newest checkpoint, or draw new parameters, or begin with those of another run.

    Returns:
        The state, its layout, and for run.json where its weights come from.
    """
    rng = jax.random.fold_in(jax.random.key(parts.config["seed"]), 0)
    ema = parts.config["ema_decay"] is not None
    create, abstract, layout = state_layout(
        parts.task, parts.optimizer, parts.mesh, rng=rng, ema=ema
    )
    if checkpoints.steps(workdir.path):
        return checkpoints.restore_state(workdir.path, abstract), layout, {}
    if parts.init_from is None:
        return jax.jit(create, out_shardings=layout)(rng), layout, {}
    start = processes.all_or_none(
        lambda: plan_start(
            parts.init_from, abstract.params, parts.manifest, constant=constants(parts.groups)
        )
    )
    processes.check_same(str(start.place), "the checkpoint that config.init_from names")
    if is_main():
        print("\n".join(start.notes), flush=True)
    state = initial_state(
        start, parts.task, parts.optimizer, mesh=parts.mesh, layout=layout, rng=rng, ema=ema
    )
    return state, layout, {"init_from": start.facts}


def _prepare(config: Mapping[str, Any], workdir: str) -> tuple[Experiment, Workdir]:
    """Read the configuration and open the folder, on all processes or on none."""

    def prepare() -> tuple[Experiment, Workdir]:
        parts = call(experiment, config, "")
        check_suites(parts.config["evals"])
        return parts, Workdir.open(workdir, parts.config)

    parts, folder = processes.all_or_none(prepare)
    told = json.dumps(run_manifest(parts, run_id="any"), sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()
    processes.check_same(digest, "the configuration (or a version, or the tokenizer)")
    processes.all_or_none(folder.check_shared)
    processes.check_same(str(checkpoints.steps(folder.path)), f"the checkpoints in {workdir}")
    return parts, folder


def _average(steps: list[dict[str, jax.Array]]) -> dict[str, float]:
    """Mean over steps of their metrics, fetched from the devices in one go."""
    fetched = jax.device_get(steps)
    return {name: float(np.mean([one[name] for one in fetched])) for name in fetched[0]}


def _record_counts(
    batches: Batches, rows: HostRows, before: Mapping[str, float]
) -> dict[str, float]:
    """Count the records that were bad or filtered out, by name.

    Over all processes, and with what was counted `before` the run was resumed.
    """
    counts = {f"bad_records/{fault}": count for fault, count in batches.tally.bad.items()}
    counts |= {f"filtered/{rule}": count for rule, count in batches.tally.rejected.items()}
    counts["bad_records"] = batches.tally.bad.total()
    # Processes that hold the same rows count the same records.
    share = rows.count / jax.process_count()
    total = {name: count * share for name, count in processes.add_up_counts(counts).items()}
    return {name: before.get(name, 0) + total.get(name, 0) for name in {**before, **total}}


def _stop_if_not_finite(metrics: Mapping[str, float], step: int, records: Any) -> None:
    if np.isfinite(metrics["loss"]) and np.isfinite(metrics["grad_norm"]):
        return
    raise FloatingPointError(
        f"the loss ({metrics['loss']}) or the gradient norm ({metrics['grad_norm']}) is not "
        f"finite at step {step}. The newest checkpoint is from before; the records of the last "
        f"batch on this process were {np.asarray(records)[:16].tolist()} ... Lower "
        "config.optimizer.learning_rate, lengthen the warm-up, or set config.optimizer.clip_norm."
    )


def train(config: Mapping[str, Any], workdir: str) -> str:
    """Run a configuration to its end, or go on with it where it was stopped.

    Args:
        config: see `bigclip.training.experiment.experiment`, whose arguments are its keys.
        workdir: the run's folder, see `bigclip.training.workdir`.

    Returns:
        "complete", or "stopped" if SIGTERM asked to stop: the run is saved and can go on.

    Raises:
        ConfigError: before anything is compiled, for a mistake in the configuration, the data or
            the workdir.
        FloatingPointError: if the loss is no longer finite.
    """
    parts, folder = _prepare(config, workdir)
    manifest = run_manifest(parts, folder.run_id)
    total, every = parts.total_steps, parts.config["log"]["every_steps"]
    saving = dict(parts.config["checkpoints"])
    save_steps, save_minutes = saving.pop("every_steps"), saving.pop("every_minutes")

    with jax.set_mesh(parts.mesh), StopSignal() as stop:
        state, layout, begun = _begin(parts, folder)
        first = int(state.step)
        _introduce(parts, state, folder, first)
        if first >= total:
            folder.report("complete", step=first, total_steps=total)
            return "complete"
        step_fn = jit_step(
            parts.task,
            parts.optimizer,
            parts.groups,
            mesh=parts.mesh,
            layout=layout,
            rng=jax.random.fold_in(jax.random.key(parts.config["seed"]), 1),
            total_steps=total,
            micro_batch_size=parts.config["micro_batch_size"],
            ema_decay=parts.config["ema_decay"],
        )
        on_batch = batch_sharding(parts.mesh)
        rows = host_rows(parts.mesh)
        before = checkpoints.read_manifest(folder.path) if first else {}
        batches = parts.open_batches(first, before.get("data_position"))
        writer = MetricWriter(folder.path, first_step=first)
        progress = ProgressLine(total_steps=total, first_step=first)
        saver = checkpoints.Writer(folder.path, **saving)
        meter = Meter(batch_size=parts.batch_size, flops_per_example=parts.task.flops_per_example)
        folder.report(
            "running",
            step=first,
            total_steps=total,
            command="python " + shlex.join(sys.argv),
            **folder.describe_devices(),
            filtered_records=parts.filtered,
            versions=checkpoints.package_versions(),
            **begun,
        )
        pending, saved_at, status = [], time.monotonic(), "failed"
        try:
            for step in range(first + 1, total + 1):
                since = time.perf_counter()
                batch = next(batches)
                meter.waited(time.perf_counter() - since)
                examples = {
                    name: jax.make_array_from_process_local_data(
                        on_batch, array, (parts.batch_size, *array.shape[1:])
                    )
                    for name, array in batch.items()
                    if name not in _HOST_ONLY
                }
                state, metrics = step_fn(state, examples)
                pending.append(metrics)
                stopping = stop.should_stop(step)

                if step == first + 1:
                    jax.block_until_ready(metrics)
                    meter.restart()  # compilation is no part of the speed
                due = step == total or stopping or (bool(save_steps) and step % save_steps == 0)
                if save_minutes and step % every == 0:
                    late = time.monotonic() - saved_at > 60 * save_minutes
                    due = due or bool(agree(float(late)))
                # Read before each save, too: what is not finite must not be saved, and a resumed
                # run goes on with the metrics where it goes on with the steps.
                if step % every == 0 or due:
                    averages = _average(pending)
                    timed = len(pending) - (step - len(pending) == first)
                    speed = meter.read(timed) if timed else {}
                    _stop_if_not_finite(averages, step, batch["record"])
                    rate = parts.learning_rate * float(parts.schedule(step - 1))
                    seen = step * parts.batch_size
                    more = {"learning_rate": rate, "examples_seen": seen}
                    counts = _record_counts(batches, rows, before.get("record_counts") or {})
                    more |= counts
                    writer.write(step, {**averages, **speed, **memory(), **more})
                    progress.update(
                        step,
                        loss=averages["loss"],
                        examples_per_second=speed.get("examples_per_second", 0.0),
                    )
                    pending = []

                if due:
                    saved_at = time.monotonic()
                    saver.save(
                        step,
                        state,
                        checkpoints.at_step(
                            manifest,
                            step=step,
                            examples_seen=step * parts.batch_size,
                            has_ema=state.ema is not None,
                            data_position=batches.position(
                                lambda places: processes.gather_blocks(places, rows.index)
                            ),
                            record_counts=counts,
                        ),
                    )
                    folder.report("running", step=step)
                if stopping:
                    break
            saver.wait()
            status = "complete" if step == total else "stopped"
        finally:
            # Whatever ended the loop: what was begun is finished, and the status tells the truth.
            progress.close()
            saver.close()
            writer.close()
            batches.close()
            folder.report(status, step=step)
    return status


def _introduce(parts: Experiment, state: TrainState, folder: Workdir, first: int) -> None:
    """Tell what is about to run, once."""
    if not is_main():
        return
    overview = parameter_overview.get_parameter_overview(state.params, include_stats="sharding")
    (folder.path / "parameters.txt").write_text(overview + "\n")
    rich_print(group_table(state.params, parts.groups))
    done = "complete: nothing to do" if first >= parts.total_steps else f"from step {first}"
    sizes = " x ".join(f"{axis} {size}" for axis, size in parts.mesh.shape.items() if size > 1)
    print(
        f"{folder.path}: {done} of {parts.total_steps}; batch {parts.batch_size} on "
        f"{jax.device_count()} {jax.devices()[0].device_kind}"
        + (f", mesh {sizes}" if sizes else ""),
        flush=True,
    )


def main(argv: list[str]) -> None:
    """The command. Exit code 0 when complete, 42 to be restarted, 2 for a mistake of the user."""
    del argv
    values = flags.FLAGS
    if not values["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)  # at INFO Orbax tells a page per save
    processes.start(
        coordinator_address=values.coordinator_address,
        num_processes=values.num_processes,
        process_id=values.process_id,
        heartbeat_timeout_seconds=values.heartbeat_timeout_seconds,
    )
    if is_main():
        logging.getLogger("bigclip").setLevel(logging.INFO)  # which way the pairs are computed
    start = time.perf_counter()
    try:
        status = train(values.config, values.workdir)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        processes.leave(2)
    except DataLost as error:
        print(f"error: {error}", file=sys.stderr)
        processes.leave(RESTART_EXIT_CODE)
    except Exception as error:
        if jax.process_count() == 1:
            raise
        traceback.print_exc()
        # Nothing is wrong with a process that has lost another: the run can go on.
        processes.leave(RESTART_EXIT_CODE if processes.has_lost_peer(error) else 1)
    if is_main():
        print(f"{status} after {duration(time.perf_counter() - start)}: {values.workdir}")
    sys.exit(RESTART_EXIT_CODE if status == "stopped" else 0)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", None, "file.py or file.py:argument")
    flags.DEFINE_string("workdir", None, "the run's folder")
    flags.DEFINE_string("coordinator_address", None, "host:port of process 0, if not detected")
    flags.DEFINE_integer("num_processes", None, "number of processes, if not detected")
    flags.DEFINE_integer("process_id", None, "this process's number, if not detected")
    flags.DEFINE_float("heartbeat_timeout_seconds", 100, "silence that means death")
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse_config_flags)
