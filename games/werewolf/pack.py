"""The pack at night: the wolves confer in private and choose one victim."""

from __future__ import annotations

from collections.abc import Sequence

from games.werewolf import prompts
from games.werewolf.ballot import leaders
from games.werewolf.village import Village
from runner.game import Seat


async def hunt(village: Village) -> Seat | None:
    """Whom the pack attacks; None when its vote ties and the rules then spare the village."""
    wolves = village.wolves
    if len(wolves) > 1:
        await confer(village, wolves)
    if village.rules.wolf_choice == "one":
        victim: Seat | None = await strike(village, village.table.rng.choice(wolves))
    else:
        victim = await agree(village, wolves)
    village.table.tell(f"The pack attacks {victim or 'nobody'}.", to=wolves)
    return victim


async def confer(village: Village, wolves: Sequence[Seat]) -> None:
    """Talk that only the pack hears."""
    table, rules = village.table, village.rules
    for _ in range(rules.wolf_talk_rounds):
        for wolf in table.rng.sample(wolves, len(wolves)):
            words = await wolf.say(prompts.pack_talk(wolf), max_tokens=rules.speech_tokens)
            table.tell(f"{wolf} to the pack: {words}", to=wolves, by=wolf)


async def strike(village: Village, wolf: Seat) -> Seat:
    return await wolf.choose(prompts.pack_choice(wolf), village.prey)


async def agree(village: Village, wolves: Sequence[Seat]) -> Seat | None:
    """All wolves vote at once; what they chose is read to the pack."""
    votes = await village.table.together(*(strike(village, wolf) for wolf in wolves))
    if len(wolves) > 1:
        read = ", ".join(f"{wolf} for {vote}" for wolf, vote in zip(wolves, votes, strict=True))
        village.table.tell(f"The pack votes: {read}.", to=wolves)
    top = leaders((vote, 1.0) for vote in votes)
    if len(top) > 1 and village.rules.wolf_tie == "none":
        return None
    return village.table.rng.choice(top)
