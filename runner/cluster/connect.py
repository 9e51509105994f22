"""Joins the Ray cluster that is there, or starts a local one.

Order: `cluster.address`, RAY_ADDRESS, the cluster of a running `ray start`, a new local one.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError

from runner.cluster.head import expect_head, head_gone
from runner.config import ClusterConfig
from runner.errors import RunFailed, UsageError

_KNOCK_S = 5.0
_LEAVE_S = 20.0
_GONE_S = 2.0
"""The same when the head does not answer: it will not let us go either."""
_cut_off = False
_QUIET: Any = {"logging_level": logging.ERROR, "log_to_driver": False}


@dataclass(frozen=True)
class Connection:
    """The cluster that a run uses."""

    address: str
    dashboard_url: str | None
    nodes: int
    """Nodes with a CPU to work on; the head of a managed cluster often has none."""
    alone: bool
    """Whether this machine is the whole cluster and stays so, so that loopback addresses do: to
    one that was joined, nodes may be added."""
    cpus: float
    gpus: float
    started_here: bool
    """Whether this process started it, and so ends it."""

    def __str__(self) -> str:
        kind = "local Ray" if self.started_here else f"joined the Ray cluster at {self.address}"
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        nodes = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        return f"{kind}: {nodes}, {self.cpus:g} CPUs{gpus}"


def connect(config: ClusterConfig, namespace: str) -> Connection:
    """Join or start a cluster. Raises UsageError when the one that was named cannot be joined."""
    expect_head()
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    named = os.environ.get("RAY_ADDRESS")
    address = config.address or named
    if address == "auto" and named not in (None, "auto", "local"):
        address = named  # a submitted job is told so where its cluster is
    if address in (None, "auto"):
        sized = config.num_cpus is not None or config.num_gpus is not None
        address = _running_cluster() or ("local" if address is None else None)
        address = "local" if sized else address
    if address is None:
        raise UsageError(
            "cluster.address=auto: no Ray cluster runs on this machine. Start one with "
            "`ray start --head`, name one, or leave the address out to start a local one."
        )
    if address == "local":
        _start(config, namespace)
    else:
        _join(address, namespace)
    context = ray.get_runtime_context()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    able = [node for node in nodes if node["Resources"].get("CPU", 0) >= 1]
    total = ray.cluster_resources()
    return Connection(
        address=context.gcs_address,
        dashboard_url=_dashboard_url(),
        nodes=len(able),
        alone=len(nodes) == 1 and _started_here(),
        cpus=total.get("CPU", 0.0),
        gpus=total.get("GPU", 0.0),
        started_here=_started_here(),
    )


def hush() -> None:
    """Ray says no more: it is left before it is up, and parts of it fail of that."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)


def disconnect() -> None:
    """Leave the cluster; one that was started here ends.

    A Ray whose processes were ended from outside (a SIGTERM to the whole process group) would make
    us wait for a minute and then end this process with its own exit code: `cut_off` says so.
    """
    global _cut_off
    leaving = threading.Thread(target=ray.shutdown, name="ray.shutdown", daemon=True)
    leaving.start()
    leaving.join(_GONE_S if head_gone() else _LEAVE_S)
    _cut_off = leaving.is_alive()


def cut_off() -> bool:
    """Whether Ray did not let us leave: exit without its own clean-up, which would not end."""
    return _cut_off


def _join(address: str, namespace: str) -> None:
    _knock(address)
    _use_token_if_there_is_one()
    try:
        ray.init(address, namespace=namespace, **_QUIET)
    except (AuthenticationError, ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"The Ray cluster at {address} does not let us in: {_first_line(error)} If it uses "
            "token authentication, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the token "
            "file of the user who started it (usually ~/.ray/auth_token). To leave it alone: "
            "cluster=local."
        ) from error


def _knock(address: str) -> None:
    """Raise UsageError when nobody listens at `host:port`; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise UsageError(
            f"No Ray cluster listens at {address} ({error}). Check cluster.address or "
            "RAY_ADDRESS; without them a running `ray start` is joined or a local Ray started."
        ) from error


def _running_cluster() -> str | None:
    """Address of the cluster that the last `ray start` on this machine made or joined, if alive."""
    address: str | None = ray._private.utils.read_ray_address(None)
    if not address:
        return None
    try:
        _knock(address)
    except UsageError:
        return None  # the address file is left from a cluster that is gone
    return address


def _start(config: ClusterConfig, namespace: str) -> None:
    # Ray runs workers at low priority so that its own processes stay responsive. An engine on the
    # CPU inherits that and would yield to anything else on the machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Nobody was asked whether Ray may report to its makers; a cluster of one's own does as told.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(
            "local",
            num_cpus=config.num_cpus,
            num_gpus=config.num_gpus,
            namespace=namespace,
            include_dashboard=config.dashboard,
            **_QUIET,
        )
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise RunFailed(
            f"A local Ray did not start: {_first_line(error)} Its logs are in "
            "/tmp/ray/session_latest/logs; cluster.dashboard=false needs less."
        ) from error


def _use_token_if_there_is_one() -> None:
    """Clusters use token authentication where their user has a token; joining by address would not.

    `ray start` turns it on when it finds a token; `ray.init(address=...)` leaves it off and then
    waits 20 s for an answer that never comes.
    """
    try:
        from ray._private.authentication import authentication_token_setup as setup
    except ImportError:
        return  # a version of Ray before token authentication
    setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _started_here() -> bool:
    node = ray._private.worker._global_node
    return bool(node is not None and node.head)


def _dashboard_url() -> str | None:
    url = ray._private.worker.get_dashboard_url()
    return f"http://{url}" if url and not url.startswith("http") else url or None


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith(".") else f"{line}."
