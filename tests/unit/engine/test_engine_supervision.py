"""Servers that misbehave: the guard and `HttpServer` against small scripts in their place."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.engine import ports
from runner.engine.process import Command, Process
from runner.engine.server import HttpServer
from runner.errors import EngineError, UsageError

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

OWN = 25000 + os.getpid() % 200 * 20
"""First of twenty ports for this process, so that suites may run side by side."""

HEALTHY = """
    import http.server, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Knobs:
    port_range: tuple[int, int] = (24000, 24999)
    start_timeout_s: float = 20.0
    stop_grace_s: float = 2.0


def server(script: str, tmp_path: Path, knobs: Knobs = Knobs(), *more: str) -> HttpServer:
    """A server that runs `script` with its port as first argument."""

    def command(numbers: Sequence[int], api_key: str) -> Command:
        argv = [sys.executable, "-c", textwrap.dedent(script), str(numbers[0]), *more]
        return Command([*argv, api_key], os.environ, secrets=(api_key,))

    return HttpServer(
        "test", command, knobs, host="127.0.0.1", log_path=tmp_path / "logs" / "server.log"
    )


def process(script: str, tmp_path: Path, *, grace_s: float = 2.0) -> Process:
    command = Command([sys.executable, "-c", textwrap.dedent(script)], os.environ)
    return Process(command, log_path=tmp_path / "process.log", grace_s=grace_s)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def lines(path: Path, count: int) -> list[str]:
    """The first `count` lines of a file that is being written."""
    async with asyncio.timeout(10):
        while not path.exists() or path.read_text().count("\n") < count:
            await asyncio.sleep(0.02)
    return path.read_text().splitlines()[:count]


async def test_a_healthy_server_answers_and_stops(tmp_path: Path) -> None:
    one = server(HEALTHY, tmp_path)
    await one.start()
    assert await one.ask("/anything") == "ok"
    await one.stop()
    with pytest.raises(EngineError, match="not running"):
        await one.ask("/anything")


async def test_a_server_that_dies_while_starting_shows_code_command_and_log(tmp_path: Path) -> None:
    one = server("import sys; print('line\\n' * 50, 'key', sys.argv[2]); sys.exit(7)", tmp_path)
    with pytest.raises(EngineError) as caught:
        await one.start()
    message = str(caught.value)
    assert "ended with exit code 7" in message
    assert "sys.exit(7)" in message
    assert message.count("\nline") == 19, "only the last 20 lines of the log"
    assert one.api_key not in message
    assert "key ***" in message


async def test_the_log_of_an_earlier_server_is_not_shown(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "server.log"
    log.parent.mkdir()
    log.write_text("of yesterday\n")
    with pytest.raises(EngineError) as caught:
        await server("print('of today'); exit(1)", tmp_path).start()
    assert "of today" in str(caught.value)
    assert "of yesterday" not in str(caught.value)


async def test_a_command_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    command = Command(["/no/such/program"], os.environ)
    one = HttpServer(
        "test", lambda *_: command, Knobs(), host="127.0.0.1", log_path=tmp_path / "log"
    )
    with pytest.raises(EngineError, match=r"could not be run: .*No such file.*/no/such/program"):
        await one.start()


async def test_a_server_that_never_gets_healthy_is_ended_after_the_timeout(tmp_path: Path) -> None:
    script = "import time; print('loading', flush=True); time.sleep(60)"
    one = server(script, tmp_path, Knobs(start_timeout_s=0.8))
    with pytest.raises(EngineError, match=r"not healthy after 0\.8 s.*start_timeout_s") as caught:
        await one.start()
    assert str(caught.value).endswith("loading")
    assert one.pid is not None and not alive(one.pid)


async def test_a_port_that_others_take_meanwhile_is_exchanged(tmp_path: Path) -> None:
    # The first server finds its port taken; the second one, on another port, does not.
    flag = tmp_path / "flag"
    script = (
        f"""
    import pathlib, sys
    flag = pathlib.Path({str(flag)!r})
    if not flag.exists():
        flag.write_text(sys.argv[1])
        sys.exit("OSError: [Errno 98] Address already in use")
    """
        + HEALTHY
    )
    one = server(script, tmp_path)
    await one.start()
    try:
        assert int(one.url.rsplit(":", 1)[1]) != int(flag.read_text())
    finally:
        await one.stop()


async def test_a_server_that_never_gets_its_port_is_given_up(tmp_path: Path) -> None:
    one = server("import sys; sys.exit('Address already in use')", tmp_path)
    with pytest.raises(EngineError, match=r"found its port taken 5 times.*port_range="):
        await one.start()


async def test_ports_are_free_again_after_a_failed_start(tmp_path: Path) -> None:
    knobs = Knobs(port_range=(OWN, OWN))
    with pytest.raises(EngineError, match="exit code 1"):
        await server("exit(1)", tmp_path, knobs).start()
    ports.reserve("127.0.0.1", knobs.port_range).release()


async def test_a_server_is_started_only_once(tmp_path: Path) -> None:
    one = server(HEALTHY, tmp_path)
    await one.start()
    with pytest.raises(RuntimeError):
        await one.start()
    assert await one.ask("/") == "ok", "the first start is not harmed"
    await one.stop()


@linux_only
async def test_a_server_deaf_to_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    one = process(
        """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("deaf", flush=True)
        time.sleep(60)
        """,
        tmp_path,
        grace_s=0.3,
    )
    await one.start()
    await lines(tmp_path / "process.log", 1)
    await one.stop()
    assert one.exit_code == -signal.SIGKILL
    assert one.pid is not None and not alive(one.pid)


@linux_only
async def test_descendants_that_left_group_and_session_are_ended_too(tmp_path: Path) -> None:
    one = process(
        """
        import os, time
        for _ in range(2):
            if os.fork() == 0:
                os.setsid()
                if os.fork():
                    os._exit(0)
        print(os.getpid(), flush=True)
        time.sleep(60)
        """,
        tmp_path,
    )
    await one.start()
    pids = [int(line) for line in await lines(tmp_path / "process.log", 3)]
    assert all(alive(pid) for pid in pids)
    await one.stop()
    assert not [pid for pid in pids if alive(pid)]


@linux_only
async def test_what_a_server_leaves_behind_is_ended_when_it_ends_itself(tmp_path: Path) -> None:
    one = process(
        """
        import os, time
        if os.fork():
            time.sleep(0.3)
            os._exit(3)
        os.setsid()
        print(os.getpid(), flush=True)
        time.sleep(60)
        """,
        tmp_path,
    )
    await one.start()
    orphan = int((await lines(tmp_path / "process.log", 1))[0])
    await one.ended.wait()
    assert one.exit_code == 3
    await one.stop()
    assert not alive(orphan)


@linux_only
async def test_a_server_dies_with_its_guard(tmp_path: Path) -> None:
    one = process("import time; time.sleep(60)", tmp_path)
    await one.start()
    assert one.pid is not None
    guard = int(Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(guard, signal.SIGKILL)
    async with asyncio.timeout(5):
        await one.ended.wait()
    await one.stop()
    assert not alive(one.pid)


@linux_only
def test_a_server_dies_even_if_caller_and_guard_are_killed_together(tmp_path: Path) -> None:
    script = f"""
    import asyncio, os
    from pathlib import Path
    from runner.engine.process import Command, Process
    log_path = Path({str(tmp_path)!r}) / "log"
    async def main():
        one = Process(Command(["sleep", "60"], os.environ), log_path=log_path, grace_s=1.0)
        await one.start()
        guard = int(Path(f"/proc/{{one.pid}}/stat").read_text().rpartition(")")[2].split()[1])
        print(one.pid, flush=True)
        os.kill(guard, 9)
        os.kill(os.getpid(), 9)
    asyncio.run(main())
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    asyncio.run(_gone(int(said.stdout)))


@linux_only
async def test_the_guard_is_no_child_and_shares_no_session(tmp_path: Path) -> None:
    one = process("import time; time.sleep(60)", tmp_path)
    await one.start()
    assert one.pid is not None
    guard = int(Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()[1])
    _, parent, _, session = Path(f"/proc/{guard}/stat").read_text().rpartition(")")[2].split()[:4]
    try:
        assert int(parent) != os.getpid()
        assert len({int(session), os.getsid(0), os.getsid(one.pid)}) == 3
    finally:
        await one.stop()


@linux_only
def test_a_child_that_the_dead_caller_forked_does_not_keep_the_server_alive(tmp_path: Path) -> None:
    script = f"""
    import asyncio, os, sys, time
    from pathlib import Path
    from runner.engine.process import Command, Process
    log_path = Path({str(tmp_path)!r}) / "log"
    async def main():
        one = Process(Command(["sleep", "60"], os.environ), log_path=log_path, grace_s=1.0)
        await one.start()
        holder = os.fork()  # It inherits the lifeline.
        if holder == 0:
            time.sleep(30)
            os._exit(0)
        print(one.pid, holder, flush=True)
        os.kill(os.getpid(), 9)
    asyncio.run(main())
    """
    done = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    assert done.stdout is not None
    pid, holder = map(int, done.stdout.readline().split())
    try:
        assert alive(holder)
        asyncio.run(_gone(pid))
    finally:
        os.kill(holder, signal.SIGKILL)
        done.stdout.close()
        done.wait()


async def _gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while alive(pid):
            await asyncio.sleep(0.02)


MAPS = """
    import mmap, os, sys, time
    with open(sys.argv[1], "w+b") as file:
        file.truncate(4096)
        mapped = mmap.mmap(file.fileno(), 4096)
    print("mapped", flush=True)
    time.sleep(60)
"""


@linux_only
@pytest.mark.parametrize("killed", [False, True])
async def test_shared_memory_of_the_family_is_removed_and_no_other(
    killed: bool, tmp_path: Path
) -> None:
    mine, other, kept = (tmp_path / name for name in ("loads_1", "loads_2", "results"))
    other.write_bytes(b"of another server")
    for path in (mine, kept):
        argv = [sys.executable, "-c", textwrap.dedent(MAPS), str(path)]
        command = Command(argv, os.environ, leftovers=(f"{tmp_path}/loads_*",))
        one = Process(command, log_path=tmp_path / f"{path.name}.log", grace_s=2.0)
        await one.start()
        await lines(tmp_path / f"{path.name}.log", 1)
        if killed:
            await asyncio.sleep(1.5)  # Nobody tells when the guard has looked.
            assert one.pid is not None
            os.kill(one.pid, signal.SIGKILL)
            await one.ended.wait()
        await one.stop()
    assert [path.exists() for path in (mine, other, kept)] == [False, True, True]


async def test_a_server_that_refuses_its_flags_is_no_case_for_another_try(tmp_path: Path) -> None:
    one = server(
        """
        import argparse
        parser = argparse.ArgumentParser(prog="serve")
        parser.add_argument("words", nargs="*")
        parser.parse_args()
        """,
        tmp_path,
        Knobs(),
        "--no-such-flag",
    )
    with pytest.raises(UsageError, match=r"unrecognized arguments: --no-such-flag.*engine\.args"):
        await one.start()


async def test_a_server_that_ended_by_itself_says_so(tmp_path: Path) -> None:
    ends = 'b"ok")\n            if self.path == "/end": import os; os._exit(5)'
    one = server(HEALTHY.replace('b"ok")', ends), tmp_path)
    await one.start()
    one.check_runs()
    await one.ask("/end")
    with pytest.raises(EngineError, match="ended with exit code 5"):
        await until_ended(one)
    await one.stop()
    with pytest.raises(EngineError, match="not running"):
        one.check_runs()


async def until_ended(one: HttpServer) -> None:
    async with asyncio.timeout(5):
        while True:
            one.check_runs()
            await asyncio.sleep(0.02)


async def test_a_part_without_an_api_counts_as_started_when_it_runs(tmp_path: Path) -> None:
    def command(numbers: Sequence[int], api_key: str) -> Command:
        return Command([sys.executable, "-c", "import time; time.sleep(60)"], os.environ)

    log_path = tmp_path / "log"
    one = HttpServer("t", command, Knobs(), host="127.0.0.1", health=None, log_path=log_path)
    await one.start()
    one.check_runs()
    await one.stop()


def test_whoever_listens_everywhere_is_called_where_it_stands(tmp_path: Path) -> None:
    def host(bind: str | None) -> str:
        one = HttpServer(
            "t", lambda *_: None, Knobs(), host="10.0.0.7", bind=bind, log_path=tmp_path
        )  # type: ignore[arg-type,return-value]
        return one.host

    assert [host(bind) for bind in (None, "0.0.0.0", "::", "10.9.9.9")] == [
        "10.0.0.7",
        "10.0.0.7",
        "10.0.0.7",
        "10.9.9.9",
    ]


async def test_the_environment_is_in_no_repr() -> None:
    command = Command(["serve", "--key", "s3cret"], {"KEY": "hidden"}, secrets=("s3cret",))
    assert command.shown == "serve --key ***"
    assert "hidden" not in repr(command)


def test_a_reserved_port_is_not_given_twice() -> None:
    low, high = OWN, OWN + 4
    held = [ports.reserve("127.0.0.1", (low, high)) for _ in range(5)]
    assert sorted(port.number for port in held) == list(range(low, high + 1))
    with pytest.raises(EngineError, match=rf"{low} to {high}.*engine\.port_range="):
        ports.reserve("127.0.0.1", (low, high))
    held[2].release()
    again = ports.reserve("127.0.0.1", (low, high))
    assert again.number == low + 2
    held[2].release()  # A second release must not free what another now holds.
    with pytest.raises(EngineError):
        ports.reserve("127.0.0.1", (low, high))
    for port in (again, *held):
        port.release()


def test_another_process_respects_a_reservation() -> None:
    held = ports.reserve("127.0.0.1", (OWN, OWN + 1))
    script = f"""
    from runner.engine import ports
    print(ports.reserve("127.0.0.1", ({OWN}, {OWN + 1})).number)
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    held.release()
    assert (held.number, said.stdout.strip()) == (OWN, str(OWN + 1))


def test_a_port_that_someone_listens_on_is_passed_over() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", OWN))
        other.listen()
        port = ports.reserve("127.0.0.1", (OWN, OWN + 1))
        port.release()
    assert port.number == OWN + 1


def test_a_host_that_is_not_ours_is_said_so() -> None:
    with pytest.raises(EngineError, match=r"Cannot listen on 203\.0\.113\.9:"):
        ports.reserve("203.0.113.9", (OWN, OWN))
    ports.reserve("127.0.0.1", (OWN, OWN)).release()  # The failed one holds nothing.


@pytest.mark.skipif(shutil.which("sleep") is None, reason="needs the program sleep")
async def test_stop_before_the_order_is_read_starts_nothing(tmp_path: Path) -> None:
    one = Process(Command(["sleep", "60"], os.environ), log_path=tmp_path / "log", grace_s=1.0)
    start = asyncio.create_task(one.start())
    await asyncio.sleep(0)
    await one.stop()
    await start
    assert one.pid is None or not alive(one.pid)
