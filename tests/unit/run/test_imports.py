"""What the driver's process does without while workers play: memory, and time at each start."""

from __future__ import annotations

import subprocess
import sys


def test_a_driver_imports_neither_the_client_of_models_nor_what_only_the_report_needs() -> None:
    code = "import runner.__main__, sys; print({'openai', 'duckdb'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
