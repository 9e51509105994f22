"""Roles and the two teams they make."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a seat may be dealt."""

    werewolf = "werewolf"
    """Knows the other wolves; with them, kills one of the rest each night."""
    villager = "villager"
    """Has nothing but ears, a voice and a vote."""
    seer = "seer"
    """Looks at one player each night."""
    doctor = "doctor"
    """Protects one player each night from the wolves."""
    witch = "witch"
    """Has one potion that heals the wolves' victim and one that poisons."""
    guard = "guard"
    """Protects like the doctor, under rules of its own."""
    hunter = "hunter"
    """Takes somebody along when it dies."""

    @property
    def team(self) -> Team:
        return Team.werewolves if self is Role.werewolf else Team.villagers


class Team(StrEnum):
    """Who wins together."""

    villagers = "villagers"
    """Everybody who is no werewolf, whatever else they are."""
    werewolves = "werewolves"


class Cause(StrEnum):
    """What a seat died of."""

    wolves = "wolves"
    poison = "poison"
    exile = "exile"
    shot = "shot"
