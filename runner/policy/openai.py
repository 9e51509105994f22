"""One model behind an OpenAI-compatible API. The only door to the openai client.

One call here is one HTTP request: the client does not retry (`max_retries=0`), the worker does.
The request goes through `client.post`, which skips the client's walk over every message: that
walk costs more CPU per call than all else together once a prompt has dozens of messages.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

import openai

from runner.config import Sampling
from runner.errors import LimitReached, RunnerError
from runner.game import Kind, Reply, Request

_CONNECT_S = 10.0
"""Longest wait for a connection: a host that is gone without a word costs no whole timeout."""
_LAST_COUNT = 2**31 - 1
_THINK, _END_THINK = "<think>", "</think>"
_LAST_SEED = 2**31 - 1
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class CallFailed(RunnerError):
    """One model call failed below the model: network, server or rate limit."""

    def __init__(self, reason: str, *, retryable: bool, server_gone: bool = False) -> None:
        """`server_gone`: nobody listens there; worth a look at the server's health."""
        super().__init__(reason)
        self.retryable = retryable
        self.server_gone = server_gone


class OpenAIClient:
    """Chat completions from one server, for any number of concurrent callers."""

    def __init__(self, url: str, api_key: str, *, timeout_s: float) -> None:
        self.url = url
        timeout = openai.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=api_key or "none",
            max_retries=0,
            timeout=timeout,
            http_client=_transport(timeout),
        )

    async def complete(
        self,
        request: Request,
        *,
        model: str,
        sampling: Sampling,
        seed: int = 0,
        llguidance: bool = False,
    ) -> Reply:
        """One reply to `request`. Raises CallFailed; LimitReached for a prompt that is too long.

        `llguidance`: the server takes such grammars, see `chat_body`.
        """
        body = chat_body(request, model=model, sampling=sampling, seed=seed, llguidance=llguidance)
        begun = time.perf_counter()
        try:
            raw: Any = await self._client.post("/chat/completions", body=body, cast_to=object)
        except openai.APIStatusError as error:
            raise _status_failure(error, self.url) from error
        except openai.APIConnectionError as error:
            raise _connection_failure(error, self.url) from error
        except (openai.APIError, ValueError) as error:
            raise CallFailed(
                f"{self.url} sent no valid reply: {error}"[:500], retryable=True
            ) from error
        return read_reply(raw, latency_s=time.perf_counter() - begun)

    async def close(self) -> None:
        await self._client.close()


def _transport(timeout: openai.Timeout) -> Any:
    """The client's aiohttp transport where it has one; None leaves it to the client.

    The default pool walks all connections at every request: with 1,000 calls at once that costs
    three times the CPU per call (see benchmarks/RESULTS.md).
    """
    try:
        return openai.DefaultAioHttpClient(timeout=timeout)
    except (AttributeError, RuntimeError, ImportError):
        return None


def chat_body(
    request: Request, *, model: str, sampling: Sampling, seed: int, llguidance: bool = False
) -> dict[str, Any]:
    """The JSON body of a chat completion for `request`.

    With `llguidance` a schema travels as a grammar of that kind, which forbids white space between
    tokens of JSON: small models spend half their tokens on it.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": request.max_tokens or sampling.max_tokens,
        "seed": (request.seed + seed) & _LAST_SEED,
    }
    if request.schema is not None and llguidance:
        compact = json.dumps({**request.schema, "x-guidance": _COMPACT})
        body["grammar"] = f"%llguidance {{}}\nstart: %json {compact}"
    elif request.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": request.schema},
        }
    elif sampling.stop and request.kind is Kind.say:
        body["stop"] = list(sampling.stop)
    return {**body, **sampling.extra_body}


def read_reply(raw: Any, *, latency_s: float) -> Reply:
    """A `Reply` from a chat completion's JSON. Raises CallFailed when it is none.

    Numbers that are none count as not said. Reasoning in front of the text is taken off it.
    """
    try:
        choice = raw["choices"][0]
        message = choice["message"]
        content = message.get("content") or ""
        finish = choice.get("finish_reason") or "stop"
        usage = raw.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        meta = choice.get("meta_info")
        if not isinstance(content, str) or not isinstance(details, Mapping):
            raise TypeError("content is not text")
        thought, text = split_reasoning(_whole(content))
        said = message.get("reasoning_content")
        reply = Reply(
            text=text,
            reasoning="\n".join(filter(None, (_whole(said), thought))),
            finish_reason=_whole(finish),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            cached_tokens=_count(details.get("cached_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            latency_s=latency_s,
            queue_s=_seconds(meta.get("queue_time")) if isinstance(meta, Mapping) else None,
            first_token_s=(
                _seconds(meta.get("first_token_latency")) if isinstance(meta, Mapping) else None
            ),
            request_id=_whole(raw.get("id")),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        shown = json.dumps(raw, default=str)[:200]
        raise CallFailed(f"The server sent no chat completion: {shown}", retryable=True) from error
    if finish == "abort":
        raise CallFailed("The server aborted the request", retryable=True)
    return reply


def split_reasoning(text: str) -> tuple[str, str]:
    """(reasoning, the rest): models without a parser of their own think aloud in `<think>` tags.

    Without a closing tag all is reasoning. Where the chat template opened the tag, only the
    closing one is in the text.
    """
    opened = text.lstrip().startswith(_THINK)
    before, closing, after = text.partition(_END_THINK)
    if not opened and not closing:
        return "", text
    return before.strip().removeprefix(_THINK).strip(), after.lstrip()


def _whole(text: Any) -> str:
    """Text without lone surrogates, which neither UTF-8 nor a table can hold."""
    return str(text or "").encode("utf-8", "replace").decode("utf-8")


def _count(value: Any) -> int:
    try:
        return max(0, min(int(value or 0), _LAST_COUNT))
    except (TypeError, ValueError, OverflowError):
        return 0


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _connection_failure(error: openai.APIConnectionError, url: str) -> CallFailed:
    """A reply that did not come in time is patience run out; no connection is a server gone.

    The aiohttp transport reports a refused connection as a ConnectTimeout.
    """
    cause = error.__cause__
    connecting = type(cause).__name__ in ("ConnectTimeout", "ConnectError")
    if isinstance(error, openai.APITimeoutError) and not connecting:
        return CallFailed(f"The call to {url} timed out", retryable=True)
    return CallFailed(
        f"The call to {url} failed: {cause or error}", retryable=True, server_gone=True
    )


def _status_failure(error: openai.APIStatusError, url: str) -> RunnerError:
    code, text = error.status_code, str(error.message)[:300]
    if code in (400, 413, 422) and any(
        sign in text.lower() for sign in ("context", "too long", "longer than")
    ):
        return LimitReached("context_length", text)
    if code == 401 or code == 403:
        return CallFailed(
            f"{url} refused the API key (HTTP {code}); check the environment variable "
            "that engine.api_key_env names",
            retryable=False,
        )
    retryable = code in (408, 409, 425, 429) or code >= 500
    return CallFailed(f"{url} answered HTTP {code}: {text}", retryable=retryable)
