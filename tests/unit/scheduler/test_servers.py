"""Which server is named for an episode, whatever has happened before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.scheduler import FixedSlots, Ledger
from runner.scheduler.servers import Servers

NAMES = ("a", "b", "c")
MODEL = "m"


class Picky(FixedSlots):
    """Fixed slots, and a server takes no episode that is called like it."""

    def fits(self, episode: str, server: str) -> bool:
        return not episode.startswith(server)


def servers(admission: Any = None, *, pace: float = 4.0, episodes: int = 100) -> Servers:
    return Servers(admission or FixedSlots(), pace=pace, episodes=lambda: episodes)


def up(*slots: int, again: bool = False, **options: Any) -> Servers:
    found = servers(**options)
    for name, some in zip(NAMES, slots, strict=False):
        found.up(name, MODEL, some, again, 0.0)
    return found


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("expect", "up", "again", "down", "retire", "place", "vacate", "wait")),
        st.sampled_from(NAMES),
        st.integers(0, 4),
    ),
    max_size=60,
)


@given(STEPS)
def test_whoever_is_named_is_open_and_has_the_most_room(steps: list[tuple[str, str, int]]) -> None:
    admission = Picky()
    asked = servers(admission)
    known, healthy, retired = set[str](), set[str](), set[str]()
    for number, (step, name, slots) in enumerate(steps):
        held = sorted(asked.held(name))
        if step == "expect":
            asked.expect(name, MODEL)
            known.add(name)
        elif step in ("up", "again"):
            asked.up(name, MODEL, slots, step == "again", 0.0)
            known.add(name)
            healthy.add(name)
        elif step == "down":
            for episode in held:
                asked.vacate(episode, name, 0.0)
            asked.down(name, 0.0)
            healthy.discard(name)
        elif step == "retire":
            asked.retire(name)
            retired |= known & {name}
        elif step == "vacate" and held:
            asked.vacate(held[0], name, 0.0)
        elif step == "wait":
            asked.accrue(slots / 4)
        elif step == "place" and (target := asked.roomiest(MODEL, f"{name}{number}")):
            asked.place(f"{name}{number}", target, 0.0)

        able = {one for one in healthy - retired if asked[one].allowance >= 1}
        room = {one: admission.room(one) for one in able}
        most = max(room.values(), default=0.0)
        target = asked.roomiest(MODEL, "x")
        assert (target is None) == (most <= 0)
        assert target is None or room[target] == most
        if target is not None:
            assert asked.roomiest(MODEL, f"{target}1") is None  # it does not fit in there


def test_an_episode_goes_back_to_where_it_was_while_that_has_room() -> None:
    asked = up(1, 5)
    assert asked.find("e", [MODEL]) == {MODEL: "b"}
    assert asked.find("e", [MODEL], {MODEL: "a"}) == {MODEL: "a"}
    asked.place("d", "a", 0.0)
    assert asked.find("e", [MODEL], {MODEL: "a"}) == {MODEL: "b"}


def test_models_without_room_are_left_out() -> None:
    assert up(1).find("e", [MODEL, "other"]) == {MODEL: "a"}


def test_one_that_came_back_is_filled_at_its_pace_until_it_has_been_full() -> None:
    asked, placed = up(6, again=True, pace=2.0), []
    for tick in range(20):
        asked.accrue(0.25)
        while target := asked.roomiest(MODEL, f"e{len(placed)}"):
            asked.place(f"e{len(placed)}", target, 0.0)
            placed.append(tick)
    assert placed == [0, 1, 3, 5, 7, 9]
    for number in range(3):
        asked.vacate(f"e{number}", "a", 0.0)
    for number in range(3):
        assert asked.roomiest(MODEL, f"f{number}") == "a"
        asked.place(f"f{number}", "a", 0.0)


@pytest.mark.parametrize("comes", [True, False])
def test_none_takes_more_than_its_share_while_others_are_coming(comes: bool) -> None:
    asked = up(10, episodes=5)
    asked.expect("b", MODEL)
    for number in range(3):
        asked.place(f"e{number}", "a", 0.0)
    assert asked.roomiest(MODEL, "e3") is None
    if comes:
        asked.up("b", MODEL, 2, False, 0.0)
    else:
        asked.down("b", 0.0)
    assert asked.roomiest(MODEL, "e3") == "a"


def test_episodes_even_out_only_where_loads_are_known_and_all_servers_there() -> None:
    assert not up(4, 4).evens_out("a")
    asked = up(4, 4, admission=Ledger())
    assert asked.evens_out("a") and not asked.evens_out("unknown")
    asked.expect("c", MODEL)
    assert not asked.evens_out("a")
    asked.down("c", 0.0)
    assert asked.evens_out("a")


def test_an_emptier_server_is_one_that_is_still_emptier_afterwards() -> None:
    asked = up(8, 8, admission=Ledger())
    asked.place("e0", "a", 0.0)
    assert asked.emptier("a", "e0") is None
    asked.place("e1", "a", 0.0)
    assert asked.emptier("a", "e1") == "b"
