"""Inside a Ray actor, whose children Ray kills with it: the guard and the server's end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init("local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def owner_class() -> type:
    """Made here, because Ray sends a class of a function whole, not by its module's name."""
    from runner.config import ModelConfig, SimulatedEngine
    from runner.engine.simulated import SimulatedServer

    class Owner:
        """Starts one stand-in server."""

        async def start(self, log_path: str) -> tuple[int, int]:
            self._engine = SimulatedServer(
                SimulatedEngine(port_range=(23000, 23999)),
                ModelConfig("m", "m"),
                log_path=Path(log_path),
            )
            await self._engine.start()
            assert self._engine.pid is not None
            return os.getpid(), self._engine.pid

        async def stop(self) -> None:
            await self._engine.stop()

        def leave(self) -> None:
            os._exit(1)

    return Owner


def end_by_stop(ray: Any, owner: Any, pid: int) -> None:
    ray.get(owner.stop.remote())


def end_by_kill(ray: Any, owner: Any, pid: int) -> None:
    ray.kill(owner)


def end_by_sigkill(ray: Any, owner: Any, pid: int) -> None:
    os.kill(pid, 9)


def end_by_exit(ray: Any, owner: Any, pid: int) -> None:
    owner.leave.remote()


@pytest.mark.parametrize("end", [end_by_stop, end_by_kill, end_by_sigkill, end_by_exit])
def test_a_server_ends_with_its_actor(
    ray: Any, end: Callable[[Any, Any, int], None], tmp_path: Path
) -> None:
    owner = ray.remote(owner_class()).options(max_restarts=0).remote()
    actor, server = ray.get(owner.start.remote(str(tmp_path / "server.log")))
    guard = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
    assert alive(server) and alive(guard)
    end(ray, owner, actor)
    until = time.monotonic() + 10
    while alive(server) or alive(guard):
        assert time.monotonic() < until, "the server or its guard outlived the actor"
        time.sleep(0.05)
