"""Servers for the engine contract, and a look at the machine's processes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from runner.config import LlamaCppEngine, ModelConfig, SimulatedEngine, VLLMEngine
from runner.engine import Endpoint
from runner.engine.llamacpp import LlamaCppServer
from runner.engine.sglang import SGLangServer
from runner.engine.simulated import SimulatedServer
from runner.engine.vllm import VLLMServer
from runner.engine.vllm.stand_in import LATENCY, python_path
from tests.sglang.environment import environment, needs_sglang

SERVED = [pytest.param("llamacpp", marks=pytest.mark.engine), "simulated", "vllm"]
"""Engines that start a server of their own; for vLLM's, its stand-in is installed."""

TIMED = "simulated on an H100"
"""The simulated server with a cost model, a small cache and a short queue, as SGLang's is here."""

SGLANG = pytest.param("sglang", marks=needs_sglang)
"""It starts slowly, so tests share one server where they can."""

MODEL = ModelConfig("stand-in", "builtin:smollm2-135m-instruct", context_length=1024)


def make_server(
    kind: str,
    log_path: Path,
    *,
    latency_s: float = 0.0,
    port_range: tuple[int, int] = (23000, 23999),
) -> LlamaCppServer | SimulatedServer | SGLangServer | VLLMServer:
    """A small server of that kind, not started."""
    if kind == "sglang":
        made = environment()
        return SGLangServer(made.engine(port_range), made.served(), log_path=log_path)
    if kind == "llamacpp":
        llamacpp = LlamaCppEngine(slots=2, port_range=port_range)
        return LlamaCppServer(llamacpp, MODEL, log_path=log_path)
    if kind == "vllm":
        env = {"PYTHONPATH": python_path(log_path.parent / "site"), LATENCY: str(latency_s)}
        vllm = VLLMEngine(device="cpu", env=env, port_range=port_range)
        return VLLMServer(vllm, MODEL, log_path=log_path)
    simulated = SimulatedEngine(latency_s=latency_s, port_range=port_range)
    if kind == TIMED:
        simulated = replace(
            simulated, hardware="h100-8b", slots=8, kv_tokens=16384, max_queued_requests=8
        )
    return SimulatedServer(simulated, MODEL, log_path=log_path)


@asynccontextmanager
async def client(endpoint: Endpoint, key: str = "") -> AsyncIterator[openai.AsyncOpenAI]:
    """The real client, as the worker uses it."""
    async with openai.AsyncOpenAI(
        base_url=endpoint.url, api_key=key or endpoint.api_key, max_retries=0, timeout=60
    ) as opened:
        yield opened


def alive(pid: int) -> bool:
    """Whether there is such a process; one that only waits to be collected is dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def family(pid: int) -> list[int]:
    """The guard above the process, the process, and all others of its session."""
    found = [int(_stat(pid)[1]), pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in found:
            fields = _stat(int(entry.name))
            if fields and int(fields[3]) == pid:
                found.append(int(entry.name))
    return found


def scheduler_of(pid: int) -> int:
    """SGLang's process that does the work."""
    (found,) = (p for p in family(pid) if b"sglang::scheduler" in _read(p, "cmdline"))
    return found


def shared_memory(pids: Iterable[int]) -> set[str]:
    """Files in shared memory that one of the processes has mapped and that still have a name."""
    lines = [line for pid in pids for line in _read(pid, "maps").decode().splitlines()]
    return {line.split()[-1] for line in lines if "/dev/shm/" in line and "(deleted)" not in line}


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> list[str]:
    """State, parent, group, session, … of a process; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


async def until(
    look: Callable[[], Any], good: Callable[[Any], bool], *, timeout_s: float = 15.0
) -> Any:
    """What `look` finds once it is `good`. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = look()
            if inspect.isawaitable(found):
                found = await found
            if good(found):
                return found
            await asyncio.sleep(0.05)
