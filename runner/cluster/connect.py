"""Joins the Ray cluster that is there, or starts a local one.

Order: `cluster.address`, RAY_ADDRESS, the cluster of a running `ray start`, a new local one.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import AuthenticationError

from runner.config import ClusterConfig
from runner.errors import UsageError

_TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Connection:
    """The cluster that a run uses."""

    address: str
    dashboard_url: str | None
    nodes: int
    cpus: float
    gpus: float
    started_here: bool
    """Whether this process started it, and so ends it."""

    def __str__(self) -> str:
        kind = "local Ray" if self.started_here else f"Ray at {self.address}"
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        nodes = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        return f"{kind}: {nodes}, {self.cpus:g} CPUs{gpus}"


def connect(config: ClusterConfig, namespace: str) -> Connection:
    """Join or start a cluster. Raises UsageError when the one that was named cannot be joined."""
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    named = config.address or os.environ.get("RAY_ADDRESS")
    if named and named != "local":
        _use_token_if_there_is_one()
        _join(named, namespace)
    elif named == "local" or config.num_cpus is not None or config.num_gpus is not None:
        _start(config, namespace)
    else:
        _join_or_start(config, namespace)
    context = ray.get_runtime_context()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    total = ray.cluster_resources()
    return Connection(
        address=context.gcs_address,
        dashboard_url=_dashboard_url(),
        nodes=len(nodes),
        cpus=total.get("CPU", 0.0),
        gpus=total.get("GPU", 0.0),
        started_here=_started_here(),
    )


def _join(address: str, namespace: str) -> None:
    try:
        ray.init(address, namespace=namespace, logging_level=logging.ERROR, log_to_driver=False)
    except AuthenticationError as error:
        raise UsageError(
            f"The Ray cluster at {address} wants an authentication token that was not given: "
            f"{_first_line(error)} Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the token "
            "file of the user who started it (usually ~/.ray/auth_token)."
        ) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"There is no Ray cluster to join at {address}: {_first_line(error)} Check "
            "cluster.address or RAY_ADDRESS; without them a local cluster is started."
        ) from error


def _join_or_start(config: ClusterConfig, namespace: str) -> None:
    """Join what `ray start` left in its address file; start a cluster if there is none alive."""
    try:
        ray.init(
            None,
            namespace=namespace,
            include_dashboard=config.dashboard,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except ConnectionError:
        _start(config, namespace)  # the address file is left from a cluster that crashed


def _start(config: ClusterConfig, namespace: str) -> None:
    ray.init(
        "local",
        num_cpus=config.num_cpus,
        num_gpus=config.num_gpus,
        namespace=namespace,
        include_dashboard=config.dashboard,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )


def _use_token_if_there_is_one() -> None:
    """Clusters use token authentication where their user has a token; joining by address would not.

    `ray start` turns it on when it finds a token, `ray.init(address=...)` leaves it off and then
    waits 20 s for an answer that never comes.
    """
    token = Path.home() / ".ray" / "auth_token"
    if any(os.environ.get(name) for name in _TOKEN_VARIABLES) or token.exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _started_here() -> bool:
    node = ray._private.worker._global_node
    return bool(node is not None and node.head)


def _dashboard_url() -> str | None:
    url = ray._private.worker.get_dashboard_url()
    return f"http://{url}" if url and not url.startswith("http") else url or None


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith(".") else f"{line}."
