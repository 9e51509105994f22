"""Every way in which a real SGLang server ends, hangs or does not start, and what is left of it.

A start takes most of a minute on two cores, so each test makes the most of one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from engine_helpers import (
    alive,
    client,
    family,
    make_server,
    scheduler_of,
    shared_memory,
    until,
)

from runner.engine import Endpoint, Place, ports, prepare
from runner.engine.sglang import SGLangServer
from runner.errors import EngineError, EngineStalled, UsageError
from tests.sglang.environment import environment, needs_sglang

pytestmark = needs_sglang


async def long_call(endpoint: Endpoint) -> object:
    async with client(endpoint) as openai_client:
        return await openai_client.chat.completions.create(
            model=endpoint.model,
            messages=[{"role": "user", "content": "Tell a very long story."}],
            max_tokens=900,
            extra_body={"ignore_eos": True},
        )


async def test_a_taken_port_then_a_hung_scheduler_then_stop(tmp_path: Path) -> None:
    made = environment()
    config = replace(made.engine((23900, 23919)), stall_s=3.0, stop_grace_s=3.0)
    engine = SGLangServer(config, made.served(), log_path=tmp_path / "server.log")
    start = asyncio.create_task(engine.start())
    await until(lambda: engine.pid, bool)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 23900))
        other.listen()
        endpoint = await start
    try:
        assert ":23900/" not in endpoint.url
        for _ in range(8):  # Idle for longer than `stall_s`.
            assert (await engine.stats()).running == 0
            await asyncio.sleep(0.5)
        call = asyncio.create_task(long_call(endpoint))
        await until(engine.stats, lambda stats: stats.running == 1)
        assert engine.pid is not None
        members, leftovers = family(engine.pid), shared_memory(family(engine.pid))
        os.kill(scheduler_of(engine.pid), signal.SIGSTOP)
        since = time.monotonic()
        with pytest.raises(EngineStalled, match=r"no token for .* s.*engine\.stall_s=3"):
            await until(engine.stats, lambda stats: False)
        assert 2.5 < time.monotonic() - since < 8
    finally:
        await engine.stop()
    assert time.monotonic() - since < 15
    with pytest.raises(openai.APIConnectionError):
        await call
    assert not [pid for pid in members[1:] if alive(pid)]
    assert leftovers and not [path for path in leftovers if Path(path).exists()]


async def test_a_scheduler_killed_with_a_call_in_flight_ends_the_server(tmp_path: Path) -> None:
    engine = make_server("sglang", tmp_path / "server.log")
    endpoint = await engine.start()
    try:
        call = asyncio.create_task(long_call(endpoint))
        await until(engine.stats, lambda stats: stats.running == 1)
        assert engine.pid is not None
        members, leftovers = family(engine.pid), shared_memory(family(engine.pid))
        os.kill(scheduler_of(engine.pid), signal.SIGKILL)
        with pytest.raises(EngineError, match="ended with exit code") as caught:
            await until(lambda: still(engine), lambda stats: False)
        assert endpoint.api_key not in str(caught.value)
        with pytest.raises(openai.APIConnectionError):
            await call
        await until(lambda: [pid for pid in members if alive(pid)], lambda left: not left)
        assert leftovers and not [path for path in leftovers if Path(path).exists()]
    finally:
        await engine.stop()


async def still(engine: SGLangServer) -> object:
    """The server's load; None where it does not answer but runs."""
    try:
        return await engine.stats()
    except EngineError as error:
        if "ended" in str(error):
            raise
        return None


async def test_nothing_is_left_when_all_of_it_is_killed_at_once(tmp_path: Path) -> None:
    engine = make_server("sglang", tmp_path / "server.log")
    await engine.start()
    assert engine.pid is not None
    guard, *servers = family(engine.pid)
    leftovers = shared_memory(servers)
    for pid in servers:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: alive(guard), lambda lives: not lives)
    assert leftovers and not [path for path in leftovers if Path(path).exists()]
    await engine.stop()


async def test_an_embedding_model_answers_with_vectors(tmp_path: Path) -> None:
    made = environment()
    model = made.served(embedding=True)
    engine = SGLangServer(made.engine(), model, log_path=tmp_path / "server.log")
    endpoint = await engine.start()
    try:
        assert endpoint.slots == 256
        async with client(endpoint) as openai_client:
            reply = await openai_client.embeddings.create(
                model=endpoint.model, input=["The wolf is quiet.", "Ada voted for Bob."]
            )
        assert [len(entry.embedding) for entry in reply.data] == [64, 64]
        assert reply.usage.prompt_tokens > 0
        assert (await engine.stats()).running == 0
    finally:
        await engine.stop()


async def test_a_server_over_two_nodes_answers_and_both_parts_end(tmp_path: Path) -> None:
    made = environment()
    meeting = ports.reserve("127.0.0.1", (23920, 23939))
    model = made.served(tp=2)
    cores = sorted(os.sched_getaffinity(0))
    bound = {"SGLANG_CPU_OMP_THREADS_BIND": f"{cores[0]}|{cores[-1]}"}  # One for each rank.
    head, other = (
        SGLangServer(
            made.engine(env=bound),
            model,
            log_path=tmp_path / f"server-{rank}.log",
            place=Place(nodes=2, rank=rank, meet=f"127.0.0.1:{meeting.number}"),
        )
        for rank in range(2)
    )
    try:
        endpoint, _ = await asyncio.gather(head.start(), other.start())
        async with client(endpoint) as openai_client:
            reply = await openai_client.chat.completions.create(
                model=endpoint.model, messages=[{"role": "user", "content": "Hello"}], max_tokens=8
            )
        assert reply.choices[0].message.content
        assert (await head.stats()).kv_capacity
        assert (await other.stats()).running is None
        assert head.pid is not None and other.pid is not None
        leftovers = shared_memory([*family(head.pid), *family(other.pid)])
        os.kill(scheduler_of(other.pid), signal.SIGKILL)
        with pytest.raises(EngineError, match="ended with exit code"):
            await until(other.stats, lambda stats: False, timeout_s=30)
    finally:
        await asyncio.gather(head.stop(), other.stop())
        meeting.release()
    assert leftovers and not [path for path in leftovers if Path(path).exists()]


async def test_flags_that_this_sglang_does_not_know_are_refused(tmp_path: Path) -> None:
    made = environment()
    config = made.engine(args={"disable-radix-cahce": True})
    with pytest.raises(UsageError, match=r"sglang 0\.5\.23 has no flag.*'disable-radix-cache'"):
        await asyncio.to_thread(prepare, config, made.served(), lambda said: None)
    engine = SGLangServer(config, made.served(), log_path=tmp_path / "server.log")
    with pytest.raises(UsageError, match=r"unrecognized arguments: --disable-radix-cahce"):
        await engine.start()
