"""Lines of unfinished work: torn and damaged ones are never read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgap.sealed_lines import CONTENT_AT, opened, read, seal

contents = st.binary(max_size=60).filter(lambda content: b"\n" not in content)


@given(contents)
def test_a_line_is_read_as_it_was_written(content):
    line = seal(content)
    assert opened(line) == content
    assert line[CONTENT_AT:-1] == content
    assert line.count(b"\n") == 1


@given(contents, st.data())
def test_any_flipped_bit_and_any_cut_is_seen(content, data):
    line = seal(content)
    at = data.draw(st.integers(0, len(line) - 1))
    flipped = line[at] ^ 1 << data.draw(st.integers(0, 7))
    assert opened(line[:at] + bytes([flipped]) + line[at + 1 :]) is None
    assert opened(line[:at]) is None


def test_what_is_damaged_is_left_out_and_a_torn_end_taken_away(tmp_path, caplog):
    path = tmp_path / "lines"
    assert list(read(path)) == []
    lines = [seal(b"a"), seal(b"b").replace(b"b\n", b"c\n"), seal(b"d")]
    path.write_bytes(b"".join(lines) + seal(b"e")[:-3])
    assert [content for _, content in read(path)] == [b"a", b"d"]
    assert path.read_bytes() == b"".join(lines)
    assert "a damaged line at byte 35 is done again" in caplog.text
    for place, content in read(path):
        assert path.read_bytes()[place:].startswith(seal(content))


def test_two_lines_are_no_line():
    with pytest.raises(ValueError, match="newline"):
        seal(b"a\nb")
