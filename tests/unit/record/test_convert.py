"""Parquet files that others wrote."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runner.record.convert import check_footer


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_a_file_without_our_checksum_is_taken_as_it_is(rows: int) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": pa.array(range(rows), pa.int32())}), sink)
    file = pa.BufferReader(sink.getvalue())
    check_footer(file)
    assert pq.read_table(file).num_rows == rows


def test_a_footer_that_claims_more_than_the_file_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid, match="longer than the file"):
        check_footer(pa.BufferReader(b"PAR1" + (1000).to_bytes(4, "little") + b"PAR1"))
