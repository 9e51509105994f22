"""Rows on their way into files, and parquet files that others wrote."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runner.record import TABLES
from runner.record.convert import check_footer, from_arrow_file, to_arrow_file, to_fitting_tables
from runner.record.sample import step


@pytest.mark.parametrize("n", [0, 1, 1000, 1001, 2500])
def test_a_tail_has_all_rows_in_order_and_never_many_are_arrow_s_at_once(n: int) -> None:
    rows = [step("a", ordinal) for ordinal in range(n)]
    schema = TABLES["steps"]
    assert all(table.num_rows <= 1000 for table in to_fitting_tables(rows, "steps"))
    data, rows_bytes = to_arrow_file(to_fitting_tables(rows, "steps"), schema)
    read = from_arrow_file(data)
    assert read.schema == schema
    assert read.column("ordinal").to_pylist() == list(range(n))
    assert rows_bytes == sum(table.nbytes for table in to_fitting_tables(rows, "steps"))


def test_a_row_that_does_not_fit_takes_no_other_with_it() -> None:
    rows = [step("a", ordinal) for ordinal in range(1500)]
    rows[1200]["replied_at"] = "yesterday"
    found = [
        ordinal
        for table in to_fitting_tables(rows, "steps")
        for ordinal in table.column("ordinal").to_pylist()
    ]
    assert found == [ordinal for ordinal in range(1500) if ordinal != 1200]


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
