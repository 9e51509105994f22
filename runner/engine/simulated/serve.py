"""The stand-in server: OpenAI's chat and embeddings API and SGLang's metric names, nothing behind.

The API key comes in the environment variable RUNNER_API_KEY.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from runner.engine.simulated.cache import PrefixCache, count_tokens
from runner.engine.simulated.reply import embedding, prompt_text, reply_to, requested_schema

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SHUTDOWN_S = 0.2


@dataclass
class Counters:
    """What `/metrics` shows beside the queue."""

    running: int = 0
    queued: int = 0
    kv_used: int = 0
    prompt: int = 0
    cached: int = 0
    generated: int = 0


@dataclass
class StandIn:
    """A server's state: its slots, its cache, its counters."""

    options: argparse.Namespace
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.options.slots)
        self._cache = PrefixCache(self.options.kv_tokens)
        self._faults = random.Random(0)

    async def complete(self, request: web.Request) -> web.Response:
        """`POST /v1/chat/completions`."""
        try:
            body = await request.json()
            prompt = prompt_text(body["messages"])
            requested_schema(body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return refusal(400, "invalid_request_error", f"not a chat request: {error!r}")
        if body.get("stream"):
            return refusal(400, "invalid_request_error", "this server does not stream")
        size = count_tokens(prompt)
        if (refused := self._refused(size)) is not None:
            return refused
        async with self._slot(size):
            cached = self._cache.add(prompt)
            await asyncio.sleep(self.options.latency_s)
            text, finish = reply_to(body)
        said = count_tokens(text)
        self.counters.prompt += size
        self.counters.cached += cached
        self.counters.generated += said
        return web.json_response(
            completion(self.options.name, text, finish, prompt=size, cached=cached, said=said)
        )

    async def embed(self, request: web.Request) -> web.Response:
        """`POST /v1/embeddings`."""
        try:
            body = await request.json()
            given = body["input"]
            texts = [given] if isinstance(given, str) else list(given)
            if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
                raise ValueError("input must be texts that are not blank")
        except (ValueError, KeyError, TypeError) as error:
            return refusal(400, "invalid_request_error", f"not an embeddings request: {error!r}")
        sizes = [count_tokens(text) for text in texts]
        if (refused := self._refused(max(sizes))) is not None:
            return refused
        async with self._slot(sum(sizes)):
            await asyncio.sleep(self.options.latency_s)
            vectors = [embedding(text, body.get("encoding_format")) for text in texts]
        self.counters.prompt += sum(sizes)
        return web.json_response(embeddings(self.options.name, vectors, prompt=sum(sizes)))

    def _refused(self, size: int) -> web.Response | None:
        """The answer to a call with a text of `size` tokens that gets no reply."""
        if self._faults.random() < self.options.fail_rate:
            return refusal(503, "unavailable_error", "failed on purpose (engine.fail_rate)")
        most = self.options.context
        if size >= most:
            why = f"request ({size} tokens) exceeds the available context size ({most} tokens)"
            return refusal(400, "exceed_context_size_error", why)
        return None

    @asynccontextmanager
    async def _slot(self, size: int) -> AsyncIterator[None]:
        """One of the slots, for a call of `size` tokens."""
        counters = self.counters
        counters.queued += 1
        try:
            await self._slots.acquire()
        finally:
            counters.queued -= 1
        counters.running += 1
        counters.kv_used += size
        try:
            yield
        finally:
            counters.running -= 1
            counters.kv_used -= size
            self._slots.release()

    async def metrics(self, request: web.Request) -> web.Response:
        """`GET /metrics`, in the words of SGLang."""
        counters = self.counters
        gauges = {
            "num_running_reqs": counters.running,
            "num_queue_reqs": counters.queued,
            "num_used_tokens": counters.kv_used,
            "max_total_num_tokens": self.options.kv_tokens,
        }
        totals = {
            "prompt_tokens_total": counters.prompt,
            "cached_tokens_total": counters.cached,
            "generation_tokens_total": counters.generated,
        }
        lines = [
            f"# TYPE sglang:{name} {kind}\nsglang:{name} {value}\n"
            for kind, group in (("gauge", gauges), ("counter", totals))
            for name, value in group.items()
        ]
        return web.Response(text="".join(lines))

    async def models(self, request: web.Request) -> web.Response:
        """`GET /v1/models`."""
        entry = {"id": self.options.name, "object": "model", "owned_by": "runner"}
        return web.json_response({"object": "list", "data": [entry]})

    async def health(self, request: web.Request) -> web.Response:
        """`GET /health`."""
        return web.Response(text="ok")


def completion(
    name: str, text: str, finish: str, *, prompt: int, cached: int, said: int
) -> dict[str, Any]:
    """The body of a chat completion."""
    message = {"role": "assistant", "content": text}
    return {
        "id": f"chatcmpl-{secrets.token_hex(8)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": said,
            "total_tokens": prompt + said,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }


def embeddings(name: str, vectors: Sequence[list[float] | str], *, prompt: int) -> dict[str, Any]:
    """The body of an answer with `vectors`."""
    return {
        "object": "list",
        "model": name,
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
    }


def refusal(status: int, kind: str, message: str) -> web.Response:
    """An error in the API's own form."""
    error = {"message": message, "type": kind, "code": status}
    return web.json_response({"error": error}, status=status)


def only_with(key: str) -> Any:
    """Middleware that refuses calls under /v1 without the key."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if request.path.startswith("/v1/") and not secrets.compare_digest(
            given.encode(), f"Bearer {key}".encode()
        ):
            return refusal(401, "authentication_error", "Invalid API Key")
        return await handler(request)

    return guard


def make_app(
    options: argparse.Namespace, key: str, kind: type[StandIn] = StandIn
) -> web.Application:
    """The whole server."""
    stand_in = kind(options)
    app = web.Application(middlewares=[only_with(key)], client_max_size=64 << 20)
    app.router.add_get("/health", stand_in.health)
    app.router.add_get("/metrics", stand_in.metrics)
    app.router.add_get("/v1/models", stand_in.models)
    app.router.add_post("/v1/chat/completions", stand_in.complete)
    app.router.add_post("/v1/embeddings", stand_in.embed)
    return app


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="model name in the API")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True, help="requests answered at once")
    parser.add_argument("--context", type=int, required=True, help="tokens per request")
    parser.add_argument("--kv-tokens", type=int, required=True, help="size of the prefix cache")
    parser.add_argument("--latency-s", type=float, required=True)
    parser.add_argument("--fail-rate", type=float, required=True)
    return parser.parse_args()


def run(app: web.Application, host: str, port: int) -> None:
    """Serve until a signal ends the process."""
    web.run_app(app, host=host, port=port, access_log=None, print=None, shutdown_timeout=SHUTDOWN_S)


def main() -> None:
    """The whole program."""
    options = parse()
    app = make_app(options, os.environ["RUNNER_API_KEY"])
    run(app, options.host, options.port)


if __name__ == "__main__":
    main()
