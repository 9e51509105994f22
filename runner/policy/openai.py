"""One model behind an OpenAI-compatible API. The only door to the openai client.

One call here is one HTTP request: the client does not retry (`max_retries=0`), the worker does.
The request goes through `client.post`, which skips the client's walk over every message: that
walk costs more CPU per call than all else together once a prompt has dozens of messages.
"""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import openai

from runner.config import Sampling
from runner.errors import LimitReached, RunnerError
from runner.game import Kind, Reply, Request
from runner.game.vectors import floats, pack
from runner.policy.failed import CallFailed

_CONNECT_S = 10.0
"""Longest wait for a connection: a host that is gone without a word costs no whole timeout."""
_LAST_COUNT = 2**31 - 1
_THINK, _END_THINK = "<think>", "</think>"
_LAST_SEED = 2**31 - 1
_TOO_LONG = ("context", "too long", "longer than", "exceeds the maximum allowed length")
"""How servers say so; the last one is SGLang's of a prompt that fits, with nothing to spare."""
_BLANK = "-"
"""Sent for a text without a visible character, which servers refuse to embed."""
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class OpenAIClient:
    """Chat completions and embeddings from one server, for any number of concurrent callers."""

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
        meta_info: bool = False,
        session: str = "",
    ) -> Reply:
        """One reply to `request`. Raises CallFailed; LimitReached for a prompt that is too long.

        `llguidance`, `meta_info`, `session`: what the server takes, see `chat_body`.
        """
        body = chat_body(
            request,
            model=model,
            sampling=sampling,
            seed=seed,
            llguidance=llguidance,
            meta_info=meta_info,
            session=session,
        )
        begun = time.perf_counter()
        raw = await self._post("/chat/completions", body)
        return read_reply(raw, latency_s=time.perf_counter() - begun)

    async def embed(self, request: Request, *, model: str, sampling: Sampling) -> Reply:
        """The vectors of `request`'s messages, packed. Raises as `complete` does."""
        texts = [message.content for message in request.messages]
        body = embed_body(texts, model=model, sampling=sampling)
        begun = time.perf_counter()
        raw = await self._post("/embeddings", body)
        return read_vectors(raw, len(texts), latency_s=time.perf_counter() - begun)

    async def close_session(self, session: str) -> None:
        """Let the server evict first what the calls of `session` left. Raises CallFailed."""
        root = self.url.removesuffix("/").removesuffix("/v1")
        await self._post(f"{root}/close_session", {"session_id": session})

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        """What the server answers. Raises CallFailed, or LimitReached."""
        try:
            return await self._client.post(path, body=body, cast_to=object)
        except openai.APIStatusError as error:
            raise _status_failure(error, self.url) from error
        except openai.APIConnectionError as error:
            raise _connection_failure(error, self.url) from error
        except (openai.APIError, ValueError, RecursionError) as error:
            raise CallFailed(
                f"{self.url} sent no valid reply: {error}"[:500], retryable=True
            ) from error

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
    request: Request,
    *,
    model: str,
    sampling: Sampling,
    seed: int,
    llguidance: bool = False,
    meta_info: bool = False,
    session: str = "",
) -> dict[str, Any]:
    """The JSON body of a chat completion for `request`.

    With `llguidance` a schema travels as a grammar of that kind, which forbids white space between
    tokens of JSON: small models spend half their tokens on it. With `meta_info` the server is asked
    how long the call waited. It keeps what calls of an open `session` left before what others did.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": (request.max_tokens or sampling.max_tokens) + sampling.reasoning_tokens,
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
    if meta_info:
        body["return_meta_info"] = True
    if session:
        body["session_id"] = session
    return {**body, **sampling.extra_body}


def embed_body(texts: Sequence[str], *, model: str, sampling: Sampling) -> dict[str, Any]:
    """The JSON body of a request for vectors; of `sampling` only `extra_body` means anything."""
    return {
        "model": model,
        "input": [text if text.strip() else _BLANK for text in texts],
        "encoding_format": "base64",
        **sampling.extra_body,
    }


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
        meta = meta if isinstance(meta, Mapping) else {}
        if not isinstance(content, str) or not isinstance(details, Mapping):
            raise TypeError("content is not text")
        thought, text = split_reasoning(_whole(content))
        said = message.get("reasoning_content") or message.get("reasoning")  # the latter: vLLM
        prompt_tokens = _count(usage.get("prompt_tokens"))
        cached = _count(details.get("cached_tokens") or meta.get("cached_tokens"))
        reply = Reply(
            text=text,
            reasoning="\n".join(filter(None, (_whole(said), thought))),
            finish_reason=_whole(finish),
            prompt_tokens=prompt_tokens,
            cached_tokens=min(cached, prompt_tokens),  # it is a part of them, whatever is said
            completion_tokens=_count(usage.get("completion_tokens")),
            latency_s=latency_s,
            queue_s=_amount(meta.get("queue_time")),
            first_token_s=_amount(meta.get("first_token_latency")),
            retractions=_maybe_count(meta.get("num_retractions")),
            request_id=_whole(raw.get("id")),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise CallFailed(
            f"The server sent no chat completion: {_shown(raw)}", retryable=True
        ) from error
    if finish == "abort":
        raise CallFailed("The server aborted the request", retryable=True)
    return reply


def read_vectors(raw: Any, count: int, *, latency_s: float) -> Reply:
    """A `Reply` with the `count` vectors of an embeddings answer. Raises CallFailed."""
    try:
        data = sorted(raw["data"], key=lambda item: item["index"])
        if [item["index"] for item in data] != list(range(count)):
            raise ValueError(f"{len(data)} vectors for {count} texts")
        usage = raw.get("usage") or {}
        return Reply(
            text=pack([_numbers(item["embedding"]) for item in data]),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            latency_s=latency_s,
            request_id=_whole(raw.get("id")),
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, struct.error) as error:
        raise CallFailed(
            f"The server sent no embeddings ({error}): {_shown(raw)}", retryable=True
        ) from error


def _shown(raw: Any) -> str:
    """The begin of what a server sent."""
    try:
        return json.dumps(raw, default=str)[:200]
    except RecursionError:
        return "JSON that is nested too deeply"


def _numbers(embedding: Any) -> Sequence[float]:
    """A vector, which some servers send as numbers even where base64 is asked for."""
    return floats(embedding) if isinstance(embedding, str) else embedding


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


def _amount(value: Any) -> float | None:
    """What a server measured; None where it does not say."""
    try:
        amount = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None


def _maybe_count(value: Any) -> int | None:
    return None if _amount(value) is None else _count(value)


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
    if code in (400, 413, 422) and any(sign in text.lower() for sign in _TOO_LONG):
        return LimitReached("context_length", text)
    if code == 401 or code == 403:
        return CallFailed(
            f"{url} refused the API key (HTTP {code}); check the environment variable "
            "that engine.api_key_env names",
            retryable=False,
        )
    retryable = code in (408, 409, 425, 429) or code >= 500
    return CallFailed(f"{url} answered HTTP {code}: {text}", retryable=retryable)
