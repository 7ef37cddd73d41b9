"""Runs `gyre run` jobs for the benchmarks and reads their reports. Standard library only."""

import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
GYRE = pathlib.Path(os.environ.get("GYRE", ROOT / "build" / "release" / "bin" / "gyre"))


def mpirun(ranks):
    """The launcher's words for that many ranks on this node, more ranks than cores included."""
    cores = len(os.sched_getaffinity(0))
    if ranks <= cores:
        binding = ["--map-by", "core", "--bind-to", "core"]
    else:
        binding = ["--oversubscribe", "--bind-to", "none"]
    return ["mpirun", *binding, "-n", str(ranks)]


def run(ranks, **options):
    """One job under mpirun; options are those of `gyre run` with _ for -, True for flags. Returns its report."""
    environment = dict(os.environ)
    if os.geteuid() == 0:
        environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        command = [*mpirun(ranks), str(GYRE), "run", "--report", str(report)]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\nended with status {done.returncode}:\n{done.stderr}")
        return json.loads(report.read_text())


# Before a program's name: a rank of that number stays on that core. Hosts of the rig do not know of each other, and ranks that compute
# on two of them may else share one core while another is idle.
PINNED = ["bash", "-c", 'exec taskset -c "$OMPI_COMM_WORLD_RANK" "$0" "$@"']
# The same, and before other programs, where Linux groups processes (autogroup) and lets us say so (root).
PINNED_AHEAD = ["bash", "-c", 'echo -12 2>/dev/null > /proc/$$/autogroup; exec taskset -c "$OMPI_COMM_WORLD_RANK" "$0" "$@"']


def run_on(hosts, *before, **options):
    """One job with a rank on each of those hosts (tests/support/rig). before: words before the command. Returns its report."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        command = [*hosts.mpirun(hosts.count, *before), str(GYRE), "run", "--report", str(report)]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        done = hosts.run(command, timeout=300)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\nended with status {done.returncode}:\n{done.stderr}")
        return json.loads(report.read_text())


def calls_of(report, backward):
    """The report of backward calls in the place of forward ones, where gradients are what is looked at."""
    return {**report, **report["backward"]} if backward else report


def cables(gbit):
    """A machine with hosts' cables of that speed, and otherwise as the default one: a machine file's object."""
    headers = 0.002  # of the bytes on a cable that passes whole segments of 64 KiB
    rate = gbit * 1e9 / 8 * (1 - headers)
    return {"name": f"hosts with cables of {gbit:g} Gbit/s", "network": {"bytes_per_second": rate, "link_bytes_per_second": rate}}


def table(header, rows):
    """Prints rows under a header, columns right-aligned."""
    cells = [header, *[[value if isinstance(value, str) else f"{value:.4g}" for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(value.rjust(width) for value, width in zip(row, widths)))


def save(path, results):
    """Writes results as JSON if a path was given."""
    if path:
        pathlib.Path(path).write_text(json.dumps(results, indent=1) + "\n")
