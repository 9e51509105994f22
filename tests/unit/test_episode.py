"""An episode's spec travels between processes whole."""

from __future__ import annotations

import pickle
from dataclasses import fields

from runner.episode import EpisodeSpec


def test_a_spec_is_the_same_after_its_way() -> None:
    spec = EpisodeSpec("a", 1, 2, 3, frozenset({"m"}), "parent", 5)
    for field in fields(EpisodeSpec):
        assert getattr(spec, field.name) != field.default, f"{field.name} is not tried"
    assert pickle.loads(pickle.dumps(spec)) == spec
