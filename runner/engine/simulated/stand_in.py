"""What the simulated server answers to each request."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

from aiohttp import web

from runner.engine.simulated import bodies, exposition
from runner.engine.simulated.bodies import Answer
from runner.engine.simulated.calls import Call, Done, Load
from runner.engine.simulated.live import Live
from runner.engine.simulated.options import Options
from runner.engine.simulated.rate import Rate
from runner.engine.simulated.reply import embedding, most_tokens, reply_to, requested_schema
from runner.engine.simulated.tokens import (
    CHARS_PER_TOKEN,
    END,
    count_tokens,
    pieces,
    prompt_tokens,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
UNGUARDED = ("/health", "/health_generate", "/ready", "/metrics")
"""What SGLang answers without a key."""
FULL = "The request queue is full."


class StandIn:
    """A server's state, and a method for each of its endpoints."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.hardware = options.server()
        self.finished = exposition.Finished()
        self._slots = asyncio.Semaphore(options.slots)
        self._queued = self._lingering = self._lingering_tokens = 0
        """Calls that wait for a slot; without a model of time, those that have one."""
        self._faults = random.Random(0)
        self._rate = Rate()

    @cached_property
    def live(self) -> Live:
        """The scheduler; made with the first request, for it needs the event loop."""
        return Live(
            self.hardware,
            policy=self.options.schedule_policy,
            sessions=self.options.enable_session_radix_cache,
        )

    def guarded(self, path: str) -> bool:
        """Whether a request for `path` needs the key."""
        return path not in UNGUARDED

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Method, path and handler of each endpoint."""
        return [
            ("GET", "/health", self.health),
            ("GET", "/health_generate", self.health),
            ("GET", "/ready", self.health),
            ("GET", "/metrics", self.metrics),
            ("GET", "/v1/loads", self.loads),
            ("GET", "/v1/models", self.models),
            ("GET", "/model_info", self.model_info),
            ("GET", "/get_model_info", self.model_info),
            ("GET", "/server_info", self.server_info),
            ("GET", "/get_server_info", self.server_info),
            ("POST", "/v1/chat/completions", self.complete),
            ("POST", "/v1/embeddings", self.embed),
            ("POST", "/close_session", self.close_session),
            ("POST", "/abort_request", self.abort_request),
            ("POST", "/flush_cache", self.flush_cache),
            ("GET", "/flush_cache", self.flush_cache),
        ]

    # --- answers ---

    async def complete(self, request: web.Request) -> web.Response:
        """`POST /v1/chat/completions`."""
        received_at = time.time()
        try:
            body = await request.json()
            prompt = prompt_tokens(body["messages"])
            most = most_tokens(body)
            requested_schema(body)
            priority = int(body.get("priority") or 0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return self.refuse(400, f"not a chat request: {error!r}")
        if body.get("stream"):
            return self.refuse(400, "this server does not stream")
        if (body.get("n") or 1) != 1:
            return self.refuse(400, f"this server gives one answer, not n={body['n']}")
        if (refused := self._refused(len(prompt), most)) is not None:
            return refused
        text, output = spoken(body)
        call = Call(
            id=str(body.get("rid") or secrets.token_hex(16)),
            prompt=prompt,
            prompt_tokens=len(prompt),
            max_tokens=most or self.options.context,
            output=output,
            output_tokens=len(output),
            session=str(body.get("session_id") or ""),
            priority=priority,
        )
        try:
            done = await self._answered(call)
        except ValueError as error:  # The id is taken.
            return self.refuse(400, str(error))
        self.finished.count(done, time.time() - received_at)
        answer = Answer(
            id=call.id,
            model=str(body.get("model") or self.options.name),
            text=text[: done.generated * CHARS_PER_TOKEN],
            finish=finish_of(done),
            done=done,
            received_at=received_at,
            clock=time.time() - asyncio.get_running_loop().time(),
        )
        return web.json_response(self.completion(answer, body))

    async def embed(self, request: web.Request) -> web.Response:
        """`POST /v1/embeddings`."""
        try:
            body = await request.json()
            given = body["input"]
            texts = [given] if isinstance(given, str) else list(given)
            if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
                raise ValueError("input must be texts that are not blank")
        except (ValueError, KeyError, TypeError) as error:
            return self.refuse(400, f"not an embeddings request: {error!r}")
        sizes = [count_tokens(text) for text in texts]
        if (refused := self._refused(max(sizes), None)) is not None:
            return refused
        async with self._slot(sum(sizes)):
            await asyncio.sleep(self.options.latency_s)
            vectors = [embedding(text, body.get("encoding_format")) for text in texts]
        self.finished.prompt += sum(sizes)
        return web.json_response(bodies.embeddings(self.options.name, vectors, prompt=sum(sizes)))

    def completion(self, answer: Answer, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON of an answer to `body`."""
        return bodies.sglang_completion(answer, meta=bool(body.get("return_meta_info")))

    def refuse(self, status: int, message: str) -> web.Response:
        """An error in the API's own form."""
        kind = "BadRequestError" if status == 400 else str(status)
        error = {"object": "error", "message": message, "type": kind, "param": None}
        return web.json_response({**error, "code": status}, status=status)

    def _refused(self, size: int, most: int | None) -> web.Response | None:
        """The answer to a call with a text of `size` tokens that gets no reply."""
        if self._faults.random() < self.options.fail_rate:
            return self.refuse(503, "failed on purpose (engine.fail_rate)")
        context = self.options.context
        if size >= context:
            length = f"model's context length ({context} tokens)"
            return self.refuse(400, f"The input ({size} tokens) is longer than the {length}.")
        if size > self.hardware.longest_prompt:
            fits = f"maximum allowed length ({self.hardware.longest_prompt} tokens)"
            return self.refuse(400, f"Input length ({size} tokens) exceeds the {fits}.")
        if most is not None and most > context:
            supports = f"This model supports at most {context} completion tokens."
            return self.refuse(400, f"max_completion_tokens is too large: {most}. {supports}")
        limit = self.options.max_queued_requests
        if limit is not None and self.load().waiting >= limit:
            return self.refuse(503, FULL)
        return None

    async def _answered(self, call: Call) -> Done:
        """Let the scheduler answer a call; it holds a slot meanwhile where answers take no time."""
        if self.options.timed:
            done = await self.live.answer(call)
            if self.options.latency_s:
                await asyncio.sleep(self.options.latency_s)
            return done
        async with self._slot(call.prompt_tokens):
            done = await self.live.answer(call)
            try:
                await asyncio.sleep(self.options.latency_s)
            except asyncio.CancelledError:
                self.live.given_up += 1
                raise
            return done

    @asynccontextmanager
    async def _slot(self, size: int) -> AsyncIterator[None]:
        """One of the slots, for a call of `size` tokens."""
        self._queued += 1
        try:
            await self._slots.acquire()
        finally:
            self._queued -= 1
        self._lingering += 1
        self._lingering_tokens += size
        try:
            yield
        finally:
            self._lingering -= 1
            self._lingering_tokens -= size
            self._slots.release()

    # --- what it says of itself ---

    def load(self) -> Load:
        """The server now, calls that only wait for `latency_s` included."""
        load = self.live.load()
        tokens = min(self._lingering_tokens, load.capacity)
        return load._replace(
            running=load.running + self._lingering,
            waiting=load.waiting + self._queued,
            used=max(load.used, tokens),
            evictable=min(load.evictable, load.capacity - max(load.used, tokens)),
        )

    async def loads(self, request: web.Request) -> web.Response:
        """`GET /v1/loads`."""
        load = self.load()
        return web.json_response(
            bodies.loads(
                load,
                max_running=self.hardware.max_running,
                waiting_tokens=self.live.waiting_tokens(),
                throughput=self._rate.of(load.generated, load.at),
            )
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """`GET /metrics`."""
        load = self.load()
        text = exposition.text(
            load,
            self.finished,
            model=self.options.name,
            context=self.options.context,
            aborted=self.live.given_up,
            throughput=self._rate.of(load.generated, load.at),
            priorities=self.options.schedule_policy == "priority",
        )
        return web.Response(text=text, headers={"Content-Type": exposition.CONTENT_TYPE})

    async def models(self, request: web.Request) -> web.Response:
        """`GET /v1/models`."""
        return web.json_response(bodies.models(self.options.name, self.options.context))

    async def model_info(self, request: web.Request) -> web.Response:
        """`GET /model_info`."""
        return web.json_response(bodies.model_info(self.options.name))

    async def server_info(self, request: web.Request) -> web.Response:
        """`GET /server_info`."""
        load, options = self.load(), self.options
        flags = {
            "model_path": options.name,
            "served_model_name": options.name,
            "max_running_requests": self.hardware.max_running,
            "chunked_prefill_size": options.chunked_prefill_size,
            "schedule_policy": options.schedule_policy,
            "max_queued_requests": options.max_queued_requests,
            "enable_session_radix_cache": options.enable_session_radix_cache,
        }
        throughput = self._rate.of(load.generated, load.at)
        return web.json_response(
            bodies.server_info(load, flags, context=options.context, throughput=throughput)
        )

    async def health(self, request: web.Request) -> web.Response:
        """`GET /health`, `/health_generate` and `/ready`."""
        return web.Response()

    # --- what it is told ---

    async def close_session(self, request: web.Request) -> web.Response:
        """`POST /close_session`; no session of that name is no error."""
        try:
            session = (await request.json())["session_id"]
        except (ValueError, KeyError, TypeError) as error:
            return self.refuse(400, f"not a session to close: {error!r}")
        self.live.close_session(str(session))
        return web.Response()

    async def abort_request(self, request: web.Request) -> web.Response:
        """`POST /abort_request`: its call gets what there is of an answer, with status 200."""
        try:
            body = await request.json()
            everything, rid = body.get("abort_all"), body.get("rid")
        except (ValueError, AttributeError) as error:
            return self.refuse(400, f"not a request to abort: {error!r}")
        if everything:
            self.live.abort_all()
        elif rid:
            self.live.abort(str(rid))
        return web.Response()

    async def flush_cache(self, request: web.Request) -> web.Response:
        """`POST /flush_cache`: refused while there are requests."""
        if self._lingering or not self.live.flush():
            return web.Response(text="Flush cache failed.\n", status=400)
        return web.Response(text="Cache flushed.\n")


def spoken(body: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The reply to a request, as text and as tokens: with the one that ends it, unless cut off."""
    text, finish = reply_to(body)
    said = pieces(text)
    return text, (*said, END) if finish == "stop" else said


def finish_of(done: Done) -> str:
    """Why an answer ends where it does."""
    if done.aborted:
        return "abort"
    whole = done.generated == done.call.output_tokens and done.call.output[-1] == END
    return "stop" if whole else "length"
