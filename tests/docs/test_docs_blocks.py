"""What the pages show works: their blocks run, one after the other, in an empty directory."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import ROOT, Block, blocks

PYTHON = shlex.quote(sys.executable)


def run(block: Block, where: Path) -> str:
    """Run one block as a reader would; what it printed."""
    if block.language == "python":
        command = [sys.executable, "-c", block.text]
    else:
        # The reader's `python` is that of the virtual environment.
        command = ["bash", "-euo", "pipefail", "-c", f'python() {{ {PYTHON} "$@"; }}\n{block.text}']
    # A cluster that somebody else runs on this machine is none of our business.
    environment = {**os.environ, "RAY_ADDRESS": "local", "HF_HUB_OFFLINE": "1"}
    environment["HF_HOME"] = str(where / ".hf")
    done = subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def write_files(page: Path, where: Path) -> None:
    """Write the blocks marked `<!-- file: NAME -->`."""
    for block in blocks(page):
        if block.mark.startswith("file: "):
            path = where / block.mark.removeprefix("file: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


@pytest.mark.ray
def test_the_readme_does_what_it_says(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    write_files(page, tmp_path)
    marked = [block for block in blocks(page) if block.mark == "run"]
    said = [run(block, tmp_path) for block in marked]
    assert len(marked) == 4
    assert "200 of 200 finished" in said[0]
    assert "20 of 20 finished" in said[0]
    assert "role" in said[1]
    assert "content" in said[1]
    assert "Outcome(rewards=" in said[2]
    assert "dilemma  6 of 6 finished" in said[3]


def test_the_example_games_play_without_servers(tmp_path: Path) -> None:
    """The python blocks of docs/games.md form one program."""
    program = "\n".join(b.text for b in blocks(ROOT / "docs/games.md") if b.language == "python")
    said = run(Block("run", "python", program), tmp_path)
    assert "Your guess?" in said


def test_results_are_read_as_the_page_says(tmp_path: Path) -> None:
    page = ROOT / "docs/results.md"
    make = (
        "from runner.record import Recorder\n"
        "from runner.record.sample import step\n"
        "recorder = Recorder('outputs/demo')\n"
        "recorder.add('steps', [step('e1', 0), step('e1', 1)])\n"
        "recorder.close()\n"
    )
    program = "\n".join(
        [make, *(b.text for b in blocks(page) if b.language == "python" and not b.mark)]
    )
    assert run(Block("run", "python", program), tmp_path).count("Ann") == 2


def test_other_tools_read_a_run_as_the_page_says(tmp_path: Path) -> None:
    make = (
        "from runner.record import Recorder, manifest, storage_at\n"
        "from runner.record.sample import episode, seat, step\n"
        "common = dict(seed=0, config={}, content={}, config_yaml='')\n"
        "manifest.begin(storage_at('outputs/played'), n=2, **common)\n"
        "recorder = Recorder('outputs/played')\n"
        "for id in ('e1', 'e2'):\n"
        "    recorder.add('steps', [step(id, n, seat=s) for n in (0, 1) for s in ('Ann', 'Bob')])\n"
        "    seats = [seat(id, s, role='seer', reward=1.0) for s in ('Ann', 'Bob')]\n"
        "    recorder.end(episode(id), seats)\n"
        "recorder.close()\n"
    )
    run(Block("run", "python", make), tmp_path)
    shown = [block for block in blocks(ROOT / "docs/results.md") if block.mark == "other tools"]
    by_role, by_model, exported = [run(block, tmp_path) for block in shown]
    assert "seer" in by_role
    assert "smol" in by_model
    assert "outputs/played/export/hf: 2 episodes, 4 seats, 8 steps" in exported
    assert (tmp_path / "tables/steps.csv").is_file()


def test_ci_finds_the_test_command() -> None:
    (block,) = [block for block in blocks(ROOT / "README.md") if block.mark == "test"]
    assert block.text == (
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest\n"
    )
    assert block.language == ""
