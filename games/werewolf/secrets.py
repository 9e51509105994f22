"""What Werewolf keeps from whom: its own lines by their beginning, and answers by the question."""

from __future__ import annotations

from games.werewolf.roles import Role
from runner.game import Secrets

SECRETS = Secrets(
    roles=True,
    lines={
        r"^Your role is (?P<role>\w+)\.": (),
        r"^The werewolves are ": (Role.werewolf,),
        r"^[^:\n]+ to the pack: ": (Role.werewolf,),
        r"^The pack (attacks|votes)\b": (Role.werewolf,),
        r"^You looked at ": (Role.seer,),
        r"^You protected ": (Role.doctor, Role.guard),
        r"^The werewolves attacked .+ tonight\.$": (Role.witch,),
        r"^You (healed|poisoned) ": (Role.witch,),
    },
    answers={
        r"Only the pack hears you": (Role.werewolf,),
        r"note down for yourself": (),
    },
)
