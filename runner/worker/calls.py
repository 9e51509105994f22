"""Model calls that survive their servers. The one owner of retries below the game."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from runner.config import Calls, ModelConfig, Sampling
from runner.errors import InfraError, RunnerError
from runner.game import Kind, Reply, Request
from runner.policy.failed import CallFailed
from runner.worker.job import ServerAddress
from runner.worker.route import Abandoned, Route

if TYPE_CHECKING:
    from runner.policy.openai import OpenAIClient

log = logging.getLogger(__name__)

_LONGEST_BACKOFF_S = 15.0
_CLOSE_S = 5.0
"""Longest wait for a session to be closed."""
_CLOSES = 16
"""Sessions that are closed at once."""


def client_class() -> type[OpenAIClient]:
    """The client, imported now: 0.25 s and 20 MiB that only those pay who make calls.

    The driver imports this module too, for what passes between it and its workers.
    """
    from runner.policy.openai import OpenAIClient

    return OpenAIClient


class Caller:
    """Sends requests to servers, one shared client per server, and tries again where that helps."""

    def __init__(self, calls: Calls, on_failure: Callable[[ServerAddress, str], None]) -> None:
        """`on_failure(server, reason)` hears of every server that nobody answers for."""
        self._calls = calls
        self._on_failure = on_failure
        self._clients: dict[tuple[str, str], OpenAIClient] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._few = asyncio.Semaphore(_CLOSES)
        self._closed = False

    async def complete(
        self,
        request: Request,
        *,
        model: ModelConfig,
        route: Route,
        salt: int,
        on_try: Callable[[ServerAddress], str],
    ) -> tuple[Reply, int]:
        """The reply and how many tries it took. `salt` tells repeats of a seed apart.

        `on_try` hears of each server before it is asked, and says of which session the call is, if
        of any; the last server named is who replied.
        A call whose server is taken away is no try: it is made anew at the next server. Raises
        InfraError when the last try failed or no further one would help.
        """
        tried = 1
        gone: set[str] = set()
        while True:
            server = await route.server(model.name, request, gone)
            session = on_try(server)
            try:
                call = self._ask(server, request, model.sampling, salt, session)
                reply = await route.call(model.name, server, call)
            except Abandoned:
                continue
            except CallFailed as error:
                if error.server_gone:
                    self._on_failure(server, str(error))
                    gone.add(server.server_id)
                if not error.retryable or tried == self._calls.tries:
                    raise InfraError(f"{error} (try {tried} of {self._calls.tries})") from error
                await route.pause(self._backoff(tried))
                tried += 1
            else:
                return reply._replace(model=model.name, server_id=server.server_id), tried

    def _ask(
        self,
        server: ServerAddress,
        request: Request,
        sampling: Sampling,
        salt: int,
        session: str,
    ) -> Coroutine[Any, Any, Reply]:
        """One try."""
        client = self._client(server)
        if request.kind is Kind.embed:
            return client.embed(request, model=server.model, sampling=sampling)
        return client.complete(
            request,
            model=server.model,
            sampling=sampling,
            seed=salt,
            llguidance=server.llguidance,
            meta_info=server.meta_info,
            session=session,
        )

    def close_session(self, server: ServerAddress, session: str) -> None:
        """Tell `server`, some time soon. It is a hint: if it fails, nobody is the worse for it."""
        if self._closed:
            return
        task = asyncio.create_task(self._close_session(server, session))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_session(self, server: ServerAddress, session: str) -> None:
        try:
            async with self._few, asyncio.timeout(_CLOSE_S):
                await self._client(server).close_session(session)
        except (RunnerError, TimeoutError) as error:
            log.debug("%s: session %s is not closed: %s", server.server_id, session, error)

    async def close(self) -> None:
        self._closed = True
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    def _client(self, server: ServerAddress) -> OpenAIClient:
        key = (server.url, server.api_key)
        if key not in self._clients:
            if server.own:
                _bypass_proxy(server.url)
            client = client_class()
            self._clients[key] = client(server.url, server.api_key, timeout_s=self._calls.timeout_s)
        return self._clients[key]

    def _backoff(self, tried: int) -> float:
        longest: float = min(_LONGEST_BACKOFF_S, self._calls.backoff_s * 2 ** (tried - 1))
        return longest * random.uniform(0.5, 1.0)


def _bypass_proxy(url: str) -> None:
    """Have clients made from now on reach the host of `url` directly."""
    host = urlsplit(url).hostname or ""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [h for h in os.environ.get(name, "").split(",") if h]
        if host not in hosts:
            os.environ[name] = ",".join([*hosts, host])
