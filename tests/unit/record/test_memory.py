"""Arrow takes its memory elsewhere while a run is written, and as before afterwards."""

from __future__ import annotations

import platform
import re
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from runner.record import plain_memory


def test_rows_lie_in_the_system_s_pool_inside_and_nowhere_else() -> None:
    before, system = pa.default_memory_pool().backend_name, pa.system_memory_pool()
    with pytest.raises(ZeroDivisionError), plain_memory():
        taken = system.bytes_allocated()
        rows = pa.array(["a"] * 10_000)
        assert system.bytes_allocated() - taken >= rows.nbytes
        _ = 1 // 0
    assert pa.default_memory_pool().backend_name == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told to")
def test_what_is_free_afterwards_goes_back_to_the_system() -> None:
    kept: list[str] = []

    def work() -> None:  # in a thread, as flushes; what is kept stands in the way of giving back
        texts = [f"{i:01000}" for i in range(50_000)]
        kept.extend(texts[::500])

    with plain_memory():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        before = own_mib()
    assert before - own_mib() > 25


def own_mib() -> float:
    """Memory of this process alone."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
