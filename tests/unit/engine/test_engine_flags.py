"""Flags of servers: from mappings to a command line, and what is refused."""

from __future__ import annotations

import pytest

from runner.engine.flags import canonical, merged, refuse_owned, refuse_unknown, to_argv
from runner.errors import UsageError


def test_values_become_words() -> None:
    given = {"tp_size": 2, "quiet": True, "off": False, "none": None, "hosts": ["a", "b"]}
    assert to_argv(given) == ["--tp-size", "2", "--quiet", "--hosts", "a", "b"]


def test_a_value_that_begins_with_a_dash_is_no_flag() -> None:
    assert to_argv({"chunked-prefill-size": -1}) == ["--chunked-prefill-size=-1"]


def test_the_later_of_two_layers_wins_whatever_its_spelling() -> None:
    found = merged({"max-running-requests": 8, "a": 1}, {"--max_running_requests": 4})
    assert found == {"a": 1, "max-running-requests": 4}
    assert to_argv(merged({"enable-metrics": True}, {"enable_metrics": False})) == []


def test_names_are_told_apart_by_their_letters_alone() -> None:
    assert {canonical(name) for name in ("--a-b", "a_b", "a-b")} == {"a-b"}


def test_a_flag_with_a_knob_is_refused_with_its_name() -> None:
    with pytest.raises(UsageError, match=r"--tp is set by model\.tp"):
        refuse_owned(["--tp"], {"tp": "model.tp"})


@pytest.mark.parametrize("name", ["api-key", "--admin_api_key", "ADMIN-API-KEY".lower()])
def test_a_key_on_a_command_line_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="show a key"):
        refuse_owned([name], {})


def test_an_unknown_flag_is_refused_with_the_near_miss() -> None:
    with pytest.raises(UsageError, match=r"sglang 1 has no flag --dtyp\. Did you mean 'dtype'"):
        refuse_unknown(["dtyp"], {"dtype", "host"}, "sglang 1")
    refuse_unknown(["--dtype"], {"dtype"}, "sglang 1")
