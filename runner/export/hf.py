"""`--to hf`: a directory that `datasets.load_dataset(path, "seats")` loads, with its card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa

from runner.export import parquet
from runner.export.source import Source
from runner.record import EPISODES, SEATS, STEPS

_MESSAGES = SEATS.field("messages").type
PROMPTED = parquet.loose(
    pa.schema(
        [
            field.with_type(_MESSAGES) if field.name == "prompt" else field
            for field in STEPS
            if field.name not in ("prompt_base", "prompt_keep")
        ]
    )
)
"""The steps with whole prompts."""

_CARD = """---
configs:
- config_name: seats
  default: true
  data_files: seats/{file}
- config_name: episodes
  data_files: episodes/{file}
- config_name: steps
  data_files: steps/{file}
tags:
- conversational
- games
---

# Games of large language models

{episodes} ended episodes of {games}, {seats} seats, {steps} replies; run {run_id}, exported by
runner {version}.{unfinished}

- `seats`: one row per seat of an episode; `messages` is all that it saw and said, as one chat.
- `episodes`: one row per episode.
- `steps`: one row per reply, with its whole `prompt` as messages.

Columns that hold JSON as text: `rules`, `models` and `facts` of episodes, `metadata` of seats.
"""


def write(source: Source, where: Path) -> dict[str, int]:
    """Write the dataset into `where`; rows by table."""
    counts = {
        "episodes": parquet.write(
            where / "episodes/train.parquet", parquet.loose(EPISODES), source.episodes
        ),
        "seats": parquet.write(where / "seats/train.parquet", parquet.loose(SEATS), source.seats()),
        "steps": parquet.write(where / "steps/train.parquet", PROMPTED, source.steps()),
    }
    # `datasets` knows a local dataset in its cache by these names: another run needs others.
    content = f"{source.about.run_id} {counts}".encode()
    file = f"train-{hashlib.sha256(content).hexdigest()[:8]}.parquet"
    for table in counts:
        (where / table / "train.parquet").rename(where / table / file)
    games = sorted({row["game"] for row in source.episodes})
    card = _CARD.format(
        **counts,
        file=file,
        games=json.dumps(games, ensure_ascii=True)[1:-1] or "nothing yet",
        run_id=source.about.run_id,
        version=source.episodes[0]["runner_version"] if source.episodes else "",
        unfinished="" if source.complete else " The run had not ended.",
    )
    (where / "README.md").write_text(card, encoding="utf-8")
    return counts
