"""A run changes how often the collector looks, and nothing of that is left behind."""

from __future__ import annotations

import gc

import pytest

from runner.worker import collecting_seldom


def test_what_was_there_is_not_looked_at_and_new_objects_seldom() -> None:
    with collecting_seldom():
        assert gc.get_threshold()[0] > 700
        assert gc.get_freeze_count() > 1_000


def test_it_is_as_before_afterwards_however_it_ended() -> None:
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), collecting_seldom():
        _ = 1 // 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
