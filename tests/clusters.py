"""A real Ray cluster of two nodes on loopback, for tests; its processes end with the block, whatever happens in it.

As a script (`python clusters.py`) it starts the nodes, says the address, removes the second one when told "remove", and
ends with its input. A node that is killed is known to be lost after two seconds; one that is only slow has minutes.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

MEMORY_BYTES = 100 * 2**20
PATIENCE_S = 600
STARTS = 8
"""On a machine that is busy enough a node gives up because its parts have not met within 15 seconds."""
HEALTH = {
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
    "health_check_timeout_ms": 120_000,
    "agent_register_timeout_ms": 1000 * PATIENCE_S,  # and of those that have met
    "worker_register_timeout_seconds": PATIENCE_S,
}
PARTS = ("metrics_agent", "metrics_export", "dashboard_agent_listen", "runtime_env_agent")
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "45"}


class TwoNodes:
    """What a test may do to the cluster."""

    def __init__(self, process):
        self._process = process
        self.address = self._said()

    def remove_one(self):
        """Kill the second node and return when that is done."""
        self._process.stdin.write("remove\n")
        self._process.stdin.flush()
        assert self._said() == "removed"

    def _said(self):
        line = self._process.stdout.readline()
        while line and not line.startswith("said: "):
            line = self._process.stdout.readline()
        return line.removeprefix("said: ").strip()


@contextmanager
def two_nodes():
    """Start the cluster in a process of its own, again where a node gave up."""
    with ExitStack() as stack:
        for _ in range(STARTS):
            nodes = TwoNodes(stack.enter_context(_process()))
            if nodes.address:
                break
        else:
            raise RuntimeError(f"the cluster did not start, {STARTS} times")
        yield nodes


@contextmanager
def _process():
    folder = tempfile.mkdtemp(prefix="ray")  # the sockets below it allow of no longer path
    (Path(folder) / "ray").mkdir()  # where the head leaves its address, and does not ask whether that is there
    process = subprocess.Popen(
        [sys.executable, __file__, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **QUIET, "RAY_TMPDIR": folder, "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports():
    """Return ports for the parts of a node; it gives up if one that may choose is slow to say which it took."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PARTS]
        return {f"{part}_port": one.getsockname()[1] for part, one in zip(PARTS, sockets, strict=True)}


def main(folder):
    """Be the cluster."""
    from ray.cluster_utils import Cluster

    each = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": MEMORY_BYTES, "wait": False, "temp_dir": folder}
    each |= {"include_log_monitor": False, "no_monitor": True}
    cluster = Cluster()
    try:
        cluster.add_node(**each, **free_ports(), include_dashboard=False, _system_config=HEALTH)
        second = cluster.add_node(**each, **free_ports())
        cluster.wait_for_nodes(PATIENCE_S)
        print("said:", cluster.address, flush=True)
        for line in sys.stdin:
            assert line == "remove\n"
            cluster.remove_node(second, allow_graceful=False)
            print("said: removed", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
