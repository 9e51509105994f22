"""A server that already runs, with any OpenAI-compatible API: found, checked, never stopped."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from runner.config import EndpointEngine, ModelConfig
from runner.engine.base import Endpoint, EngineStats
from runner.engine.metrics import Load, values
from runner.engine.unreachable import reason
from runner.errors import EngineError, UsageError, near_miss

NO_KEY = "none"
"""Sent when there is no key: clients insist on one, servers without keys ignore it."""


class EndpointServer:
    """One base URL; fulfils `Engine`. It starts no process."""

    def __init__(self, config: EndpointEngine, model: ModelConfig, *, url: str) -> None:
        self._config = config
        self._model = model
        self._url = url.rstrip("/")
        self._key = os.environ.get(config.api_key_env) or NO_KEY
        self._load = Load()
        self._stopped = False

    async def start(self) -> Endpoint:
        """Check that the server answers, takes the key and knows the model.

        Raises EngineError when it does not answer, UsageError when the key, the URL or the model
        is wrong.
        """
        status, body = await self._get(f"{self._url}/models")
        if status in (401, 403):
            raise self._wrong_key(status)
        if status == 404:
            raise UsageError(
                f"engine.urls: {self._url}/models is not there (404). Most base URLs end in /v1."
            )
        if status != 200:
            raise EngineError(f"{self._url}/models answered {status}: {body[:200]}")
        self._check_model(model_names(body))
        return Endpoint(self._url, self._model.path, self._key, self._config.slots)

    async def stats(self) -> EngineStats:
        """What the server's `/metrics` says, where it has one that is known; else nothing."""
        if self._stopped:
            raise EngineError(f"The endpoint {self._url} was stopped.")
        root = self._url.removesuffix("/v1")
        status, body = await self._get(f"{root}/metrics")
        try:
            found = values(body) if status == 200 else {}
        except ValueError:
            found = {}  # Some page, but no metrics.
        return self._load.read(found, time.time())

    async def stop(self) -> None:
        """Nothing to end: the server is not ours."""
        self._stopped = True

    async def _get(self, url: str) -> tuple[int, str]:
        timeout = aiohttp.ClientTimeout(total=self._config.connect_timeout_s)
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            # trust_env: proxies from the environment, as the openai client uses them.
            async with (
                aiohttp.ClientSession(trust_env=True, headers=headers) as session,
                session.get(url, timeout=timeout) as response,
            ):
                return response.status, await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineError(
                f"The endpoint {self._url} does not answer: {reason(error)}. Is "
                f"the server up, and engine.urls right? (engine.connect_timeout_s="
                f"{self._config.connect_timeout_s:g})"
            ) from error

    def _wrong_key(self, status: int) -> UsageError:
        name = self._config.api_key_env
        if self._key == NO_KEY:
            return UsageError(
                f"{self._url} wants an API key ({status}) and {name} is not set: "
                f"export {name}=…, or name another variable with engine.api_key_env."
            )
        return UsageError(
            f"{self._url} refuses the API key in {name} ({status}): correct it, or name another "
            f"variable with engine.api_key_env."
        )

    def _check_model(self, names: list[str]) -> None:
        wanted = self._model.path
        if names and wanted not in names:
            raise UsageError(
                f"model.path={wanted}: {self._url} serves no such model.{near_miss(wanted, names)}"
            )


def model_names(body: str) -> list[str]:
    """Names in the answer of `/models`; none where it lists none or says something else."""
    try:
        listed: Any = json.loads(body)
        return [str(entry["id"]) for entry in listed["data"]]
    except (ValueError, TypeError, KeyError):
        return []


def check(config: EndpointEngine, model: ModelConfig) -> None:
    """Raise UsageError for missing or malformed URLs."""
    if not config.urls:
        raise UsageError(
            "engine=endpoint needs the servers' base URLs: "
            "'engine.urls=[http://127.0.0.1:30000/v1]'."
        )
    for url in config.urls:
        host = _host(url)
        if "@" in (host or url):
            raise UsageError(
                "engine.urls: a URL with user:password@ would show it in logs; take it out and "
                f"put the key into ${config.api_key_env}."
            )
        if not host:
            raise UsageError(
                f"engine.urls: {url!r} is no base URL; expected one like http://10.0.0.5:30000/v1."
            )


def _host(url: str) -> str:
    """What stands between `http://` and the path; "" where `url` is no base URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return ""
    return parts.netloc if parts.scheme in ("http", "https") else ""


def probe(config: EndpointEngine, model: ModelConfig) -> None:
    """Ask every URL whether it would do. Raises what `EndpointServer.start` raises."""

    async def ask_all() -> None:
        await asyncio.gather(
            *(EndpointServer(config, model, url=url).start() for url in config.urls)
        )

    asyncio.run(ask_all())
