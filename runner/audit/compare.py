"""Holds one run against another of the same episodes: every transcript, winner and reward."""

from __future__ import annotations

from pathlib import Path

import duckdb

from runner.audit.checks import Finding
from runner.errors import UsageError
from runner.record import Storage, manifest, read, storage_at

_EPISODES = ["episode_id", "index", "attempt", "status", "winner", "num_turns", "facts"]
_SEATS = ["episode_id", "attempt", "seat", "role", "team", "reward", "won", "survived", "messages"]

_ENDS = """CREATE TABLE {name}_episodes AS SELECT * FROM all_episodes
    QUALIFY attempt = max(attempt) OVER (PARTITION BY episode_id)"""
_SEATS_OF_ENDS = """CREATE TABLE {name}_seats AS SELECT all_seats.* FROM all_seats
    JOIN {name}_episodes ends ON ends.episode_id = all_seats.episode_id
        AND coalesce(all_seats.attempt, ends.attempt) = ends.attempt"""
"""What an episode that was played again left behind does not count."""

_SAME = {
    "episodes that only one of the runs has ended": """
        SELECT coalesce(one.episode_id, other.episode_id) AS episode_id
        FROM one_episodes one FULL JOIN other_episodes other USING (episode_id)
        WHERE one.status IS NULL OR other.status IS NULL""",
    "episodes that ended otherwise": """
        SELECT episode_id, one.status, other.status AS other_status, one.winner,
            other.winner AS other_winner
        FROM one_episodes one JOIN other_episodes other USING (episode_id)
        WHERE (one.status, one.winner, one.num_turns, one.facts)
            IS DISTINCT FROM (other.status, other.winner, other.num_turns, other.facts)""",
    "seats that saw, said or won something else": """
        SELECT episode_id, seat FROM one_seats one JOIN other_seats other
            USING (episode_id, seat)
        WHERE (one.role, one.team, one.reward, one.won, one.survived, one.messages)
            IS DISTINCT FROM
            (other.role, other.team, other.reward, other.won, other.survived, other.messages)""",
}


def compare(run_dir: str | Path | Storage, other_dir: str | Path | Storage) -> list[Finding]:
    """Where two runs of the same specs differ; empty when they are the same to the letter.

    Raises UsageError when `other_dir` holds no run.
    """
    other = storage_at(other_dir)
    if manifest.load(other) is None:
        raise UsageError(f"{other.place} holds no run: it has no run.json.")
    with duckdb.connect() as database:
        for name, storage in (("one", storage_at(run_dir)), ("other", other)):
            database.register("all_episodes", read(storage, "episodes", _EPISODES))
            database.register("all_seats", read(storage, "seats", _SEATS))
            for query in (_ENDS, _SEATS_OF_ENDS):
                database.execute(query.format(name=name))
        found = []
        for problem, query in _SAME.items():
            rows = database.execute(query)
            columns = [column[0] for column in rows.description or []]
            if broken := rows.fetchall():
                example = dict(zip(columns, broken[0], strict=True))
                found.append(Finding("same", problem, len(broken), example))
        return found
