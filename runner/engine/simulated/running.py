"""The decode batch of a simulated server: any number of steps at once, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from runner.engine.simulated.calls import Request
from runner.engine.simulated.hardware import Hardware

CLIP_NEW_TOKENS = 4096
"""No request is expected to generate more, whatever it asks for (SGLang's default)."""


class Running:
    """Requests that get one token each with every step.

    Sums over the batch are kept as it changes, so that neither a step nor a question costs more
    with more requests. Only `retraction_order` looks at each of them, and `expected` where one
    may generate more than `CLIP_NEW_TOKENS`.
    """

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        self._requests: dict[str, Request] = {}
        self._finishing: list[tuple[int, int, Request]] = []
        self._joined = 0
        self.steps = 0
        """Decode steps so far."""
        self.context = 0
        """Tokens of context of all requests: prompts and what is generated."""
        self._most = self._born = self._long = 0
        self.moments: tuple[float, ...] = (0.0,) * 6

    def __len__(self) -> int:
        return len(self._requests)

    def join(self, request: Request) -> None:
        """A request whose prompt is computed, and which has its next token from that."""
        request.born = self.steps - request.out
        request.finish = request.born + request.output
        self._joined += 1
        heappush(self._finishing, (request.finish, self._joined, request))
        self._requests[request.call.id] = request
        self.context += request.call.prompt_tokens + request.out
        self._most += request.most
        self._born += request.born
        self._long += request.most > CLIP_NEW_TOKENS

    def leave(self, request: Request) -> None:
        """Take a request out, and book what it generated and holds."""
        del self._requests[request.call.id]
        request.out = self.steps - request.born
        request.held = request.out - 1  # The last token's keys would come with the next step.
        request.finish = -1
        self.context -= request.call.prompt_tokens + request.out
        self._most -= request.most
        self._born -= request.born
        self._long -= request.most > CLIP_NEW_TOKENS

    def step(self, steps: int, seconds: float) -> int:
        """Take `steps` that take `seconds` together; returns the tokens generated."""
        batch = len(self._requests)
        self.moments = self.moments_after(steps, seconds)
        self.steps += steps
        self.context += steps * batch
        return steps * batch

    def finished(self) -> list[Request]:
        """Those that have their last token; they leave."""
        found, finishing = [], self._finishing
        while finishing and finishing[0][0] <= self.steps:
            step, _, request = heappop(finishing)
            if request.finish == step:
                self.leave(request)
                found.append(request)
        return found

    def cancelled(self) -> list[Request]:
        """Those that nobody waits for; they leave."""
        found = [request for request in self._requests.values() if request.cancelled]
        for request in found:
            self.leave(request)
        return found

    def steps_to_finish(self) -> int:
        """Steps until the next request has its last token. There must be a request."""
        while (first := self._finishing[0])[2].finish != first[0]:
            heappop(self._finishing)
        return first[0] - self.steps

    def seconds(self, steps: int) -> float:
        """How long the next `steps` take."""
        return self._hardware.decode_s(steps, len(self._requests), self.context)

    def steps_within(self, seconds: float) -> int:
        """The most steps that take at most `seconds`."""
        return self._hardware.steps_within(seconds, len(self._requests), self.context)

    def expected(self) -> int:
        """Tokens that the requests may still generate, as far as admission looks ahead."""
        if self._long:
            return sum(
                min(request.most - (self.steps - request.born), CLIP_NEW_TOKENS)
                for request in self._requests.values()
            )
        return self._most - len(self._requests) * self.steps + self._born

    def ratio_after_retraction(self) -> float:
        """The share of `max_tokens` that those who stay are expected to generate now."""
        batch = len(self._requests)
        decoded = batch * self.steps - self._born
        return min(1.0, (decoded + self._hardware.retract_steps * batch) / (self._most + 1))

    def retraction_order(self) -> list[Request]:
        """Whom to keep first: most generated tokens, then shortest prompt."""
        return sorted(
            self._requests.values(),
            key=lambda r: (self.steps - r.born, -r.call.prompt_tokens),
            reverse=True,
        )

    def moments_after(self, steps: int, seconds: float) -> tuple[float, ...]:
        """SGLang's regression sums, after `steps` more that took `seconds`."""
        batch, us = len(self._requests), seconds * 1e6
        added: Sequence[float] = (
            steps,
            steps * batch,
            us,
            steps * batch * batch,
            batch * us,
            steps * batch,
        )
        return tuple(map(float.__add__, self.moments, map(float, added)))
