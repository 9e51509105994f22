"""A rumour: who left what where. Questions call the thing by another word than the rumour does."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product

PEOPLE = (
    *("Marta", "Anselm", "Brida", "Conrad", "Dorothea", "Emeric"),
    *("Frieda", "Gregor", "Hedwig", "Ivo", "Jutta", "Kaspar"),
)
THINGS = {
    "lantern": "lamp",
    "kettle": "pot",
    "coat": "jacket",
    "axe": "hatchet",
    "spectacles": "glasses",
    "letter": "note",
    "purse": "wallet",
    "violin": "fiddle",
    "rope": "cord",
    "basket": "hamper",
    "dagger": "knife",
    "mirror": "looking glass",
}
"""Thing → what the questions call it."""
PLACES = (
    *("the mill", "the old bridge", "the chapel", "the well", "the bakery", "the orchard"),
    *("the barn", "the smithy", "the graveyard", "the inn", "the ferry", "the market"),
)
MOST = len(PEOPLE) * len(THINGS)
"""Rumours that differ in who or what, so that a question has one answer."""


@dataclass(frozen=True)
class Rumour:
    """`person` left `thing` at `place`."""

    person: str
    thing: str
    place: str

    @property
    def told(self) -> str:
        return f"{self.person} left the {self.thing} at {self.place}."

    @property
    def question(self) -> str:
        return f"Where did {self.person} put the {THINGS[self.thing]}?"


def draw(rng: random.Random, count: int) -> list[Rumour]:
    """`count` rumours, no two about the same person and thing."""
    pairs = rng.sample(list(product(PEOPLE, THINGS)), count)
    return [Rumour(person, thing, rng.choice(PLACES)) for person, thing in pairs]


def places(rng: random.Random, rumour: Rumour, count: int) -> list[str]:
    """`count` places to choose from, the right one among them."""
    wrong = [place for place in PLACES if place != rumour.place]
    return [rumour.place, *rng.sample(wrong, count - 1)]
