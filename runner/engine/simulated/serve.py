"""The simulated server: SGLang's HTTP API with its scheduler behind it, and no model.

The API key comes in the environment variable RUNNER_API_KEY.
"""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any

from aiohttp import web

from runner.engine.simulated.options import Options
from runner.engine.simulated.stand_in import StandIn

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SHUTDOWN_S = 0.2


def only_with(key: str, stand_in: StandIn) -> Any:
    """Middleware that refuses calls without the key, where the server wants one."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if stand_in.guarded(request.path) and not secrets.compare_digest(
            given.encode(), f"Bearer {key}".encode()
        ):
            return web.json_response({"error": "Unauthorized"}, status=401)
        return await handler(request)

    return guard


def make_app(options: Options, key: str, kind: type[StandIn] = StandIn) -> web.Application:
    """The whole server."""
    stand_in = kind(options)
    app = web.Application(middlewares=[only_with(key, stand_in)], client_max_size=64 << 20)
    for method, path, handler in stand_in.routes():
        app.router.add_route(method, path, handler)
    return app


def parse() -> Options:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="model name in the API")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens per request")
    parser.add_argument("--slots", type=int, required=True, help="requests answered at once")
    parser.add_argument("--kv-tokens", type=int, required=True, help="size of the KV cache")
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--fail-rate", type=float, default=0.0)
    parser.add_argument("--hardware", help="name of a preset; without one a call takes no time")
    parser.add_argument("--speed", type=float, help="how many times as fast as the hardware")
    parser.add_argument("--schedule-policy", default="fcfs")
    parser.add_argument("--chunked-prefill-size", type=int, default=8192)
    parser.add_argument("--max-queued-requests", type=int)
    parser.add_argument("--enable-session-radix-cache", action="store_true")
    given = vars(parser.parse_args())
    return Options(**{field.name: given[field.name] for field in fields(Options)})


def run(app: web.Application, host: str, port: int) -> None:
    """Serve until a signal ends the process. A call whose client is gone is given up."""
    web.run_app(
        app,
        host=host,
        port=port,
        access_log=None,
        print=None,
        shutdown_timeout=SHUTDOWN_S,
        handler_cancellation=True,
    )


def main() -> None:
    """The whole program."""
    options = parse()
    app = make_app(options, os.environ["RUNNER_API_KEY"])
    run(app, options.host, options.port)


if __name__ == "__main__":
    main()
