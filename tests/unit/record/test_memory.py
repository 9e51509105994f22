"""Arrow takes its memory elsewhere while a run is written, and as before afterwards."""

from __future__ import annotations

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
