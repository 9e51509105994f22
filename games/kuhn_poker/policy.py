"""A policy that plays a strategy exactly: the known optimum as an opponent or a yardstick."""

from __future__ import annotations

import json
import random

from games.kuhn_poker.hand import options
from games.kuhn_poker.prompts import read_state
from games.kuhn_poker.strategy import Strategy
from runner.game import Reply, Request


class StrategyPolicy:
    """Plays `strategy`, drawing its mixed moves from each question's own seed."""

    def __init__(self, strategy: Strategy, name: str = "strategy") -> None:
        self.strategy = strategy
        self.name = name

    async def __call__(self, request: Request) -> Reply:
        card, history = read_state(request.messages[-1].content)
        passing, betting = options(history)
        bets = random.Random(request.seed).random() < self.strategy[card, history]
        return Reply(json.dumps({"choice": betting if bets else passing}), model=self.name)
