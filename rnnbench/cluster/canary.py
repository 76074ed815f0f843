"""The canary: one shape that each GPU times before its first task, so that a node that differs stands out."""

from __future__ import annotations

import json
from pathlib import Path

from rnnbench import variants
from rnnbench.cluster import plan, rows
from rnnbench.cluster.sweep import Sweep, node
from rnnbench.history import asv_commands, interleave
from rnnbench.history.benchmark_names import asv_filters, parameters, selected
from rnnbench.history.nodes import Time
from rnnbench.measure import gpu


def measure(sweep: Sweep, private: Path) -> None:
    """Time the canary on this GPU, or on this node if it has none, unless that is done.

    `private` is a folder as asv_commands.run wants it.
    """
    uuid = gpu.state().uuid or "" if sweep.device == "cuda" else ""
    name = "canary/{}.json".format("-".join(filter(None, [node(), uuid])))
    if sweep.read(name) is not None:
        return
    chosen = _choose(sweep)
    if chosen is None:
        return
    environment, implementation = chosen
    grid, group = sweep.canary.grid, sweep.canary.group
    shape = parameters(next(iter(selected(grid, group))))
    of_shape = asv_filters(grid, [implementation], sweep.device, group)[0]
    pattern = rf"(?=.*\.time_train\()(?:{of_shape})"
    # The first of its two halves: one process.
    asv_commands.run(next(interleave.in_turn({environment: pattern}, sweep.machine)), private=private)
    (path,) = (path for path in (private / "results" / sweep.machine).glob("*.json") if path.name != "machine.json")
    for row in rows.compact(json.loads(path.read_bytes()), shape)["results"].values():
        if row[0] and rows.measured(row[0][0]):
            sweep.write(name, Time(sweep.commit, node(), uuid, implementation, shape, row[0][0])._asdict())


def times(sweep: Sweep) -> list[Time]:
    """Return the canary's time on each node, or each of its GPUs, that has taken it."""
    return [Time(**sweep.read(f"canary/{name}.json")) for name in sweep.names("canary")]


def _choose(sweep: Sweep) -> tuple[str, str] | None:
    """Return the first environment and implementation that can train on this machine, the same on each node."""
    for environment in sweep.canary.environments:
        for name in sweep.canary.implementations:
            if variants.VARIANTS[name].trains and name in (plan.available(sweep, environment) or ()):
                return environment, name
    return None
