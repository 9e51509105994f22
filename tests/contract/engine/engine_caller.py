"""A caller to be killed: starts a server, prints its pid, and hangs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from engine_helpers import make_server


async def main() -> None:
    engine = make_server(sys.argv[1], Path(sys.argv[2]))
    await engine.start()
    print(engine.pid, flush=True)
    await asyncio.sleep(3600)


asyncio.run(main())
