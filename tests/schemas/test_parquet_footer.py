"""Footers read without Arrow agree with Arrow's own reading; garbage is refused in words."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.parquet_footer import footer_claims


def file_of(**settings: object) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"a": [[1, 2], [3]], "b": ["x", "y"], "c": [1.5, 2.5]})
    with pq.ParquetWriter(sink, table.schema, **settings) as writer:
        for _ in range(20):
            writer.write_table(table)
    return sink.getvalue()


def footer_of(data: bytes) -> bytes:
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_dictionary": False, "compression": "zstd"},
        {"use_dictionary": False, "column_encoding": {"c": "BYTE_STREAM_SPLIT"}},
        {"use_dictionary": False, "column_encoding": {"a.list.element": "DELTA_BINARY_PACKED"}},
        {"write_page_index": True, "write_statistics": False},
    ],
)
def test_as_arrow_reads_it(settings: dict[str, object]) -> None:
    data = file_of(**settings)
    found, metadata = footer_claims(footer_of(data)), pq.read_metadata(io.BytesIO(data))
    chunks = [
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    ]
    assert found.encodings == {name for chunk in chunks for name in chunk.encodings}
    assert found.uncompressed == sum(chunk.total_uncompressed_size for chunk in chunks)


def test_cut_and_nested_footers_are_refused() -> None:
    footer = footer_of(file_of())
    for end in range(0, len(footer) - 1, 5):
        with pytest.raises(ValueError, match="footer"):
            footer_claims(footer[:end])
    for bad in (b"\x1c" * 1000, b"\x19\xff\xff\xff\xff\x7f", b"\x18" + b"\xff" * 20, b"\x1f"):
        with pytest.raises(ValueError, match="footer"):
            footer_claims(bad)
