"""The talk of a day: in turn, in random order, or by bids."""

from __future__ import annotations

import re

from games.werewolf import prompts
from games.werewolf.village import Village
from runner.game import Seat

BIDS = (0, 1, 2, 3, 4)


async def discuss(village: Village) -> None:
    """All the talk of one day, which everybody hears."""
    if village.rules.talk == "bids":
        await debate(village)
        return
    line = village.line_up()
    for _ in range(village.rules.talk_rounds):
        if village.rules.talk == "random":
            line = village.table.rng.sample(village.alive, len(village.alive))
        for speaker in line:
            await speak(village, speaker, prompts.speech(speaker))


async def speak(village: Village, speaker: Seat, prompt: str, how: str = "") -> str:
    """One speech that everybody hears, with `how` it is spoken behind the speaker's name."""
    words = await speaker.say(prompt, max_tokens=village.rules.speech_tokens)
    village.table.tell_all(f"{speaker}{how}: {words}", by=speaker)
    village.tally.spoke(words)
    return words


async def debate(village: Village) -> None:
    """Before each speech all but the last speaker bid; who bids most speaks.

    A tie goes to somebody whom the last speech mentioned, else to chance. Bids stay secret.
    """
    last: Seat | None = None
    words = ""
    for _ in range(village.rules.debate_turns):
        bidders = [seat for seat in village.alive if seat is not last]
        bids = await village.table.together(
            *(seat.choose(prompts.bid(seat), BIDS, fallback=0) for seat in bidders)
        )
        village.tally.bids += len(bids)
        village.tally.bid_points += sum(bids)
        keen = [seat for seat, bid in zip(bidders, bids, strict=True) if bid == max(bids)]
        mentioned = [seat for seat in keen if mentions(words, seat.name)]
        last = village.table.rng.choice(mentioned or keen)
        words = await speak(village, last, prompts.speech(last))


def mentions(words: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words) is not None


async def note_the_day(village: Village) -> None:
    """Each player writes itself a note, which only it sees again."""
    writers = village.alive
    limit = village.rules.speech_tokens
    notes = await village.table.together(
        *(seat.say(prompts.summary(seat), max_tokens=limit) for seat in writers)
    )
    for seat, note in zip(writers, notes, strict=True):
        village.table.tell(f"Your note: {note}", to=seat, by=seat)
