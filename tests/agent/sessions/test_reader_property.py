"""Whatever lies in a file: every whole record comes out once and in order, forwards, backwards and from any number."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.ports.sessions import Record
from agent.sessions import reader as reading
from agent.sessions.disk import Disk
from agent.sessions.journal import HEADER, read_part
from agent.sessions.lines import decode, encode, head_line
from agent.sessions.reader import SessionReader, look
from agent.sessions.recovery import scan
from agent.sessions.summary import Summary, begun, folded
from tests.fakes.session_records import answered, calling, head_of, key_of, mark, said, started, updated

KEY = key_of()
HEAD = head_line(head_of(KEY))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
garbage = st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"")).filter(lambda raw: look(raw) is None)
edges = st.sampled_from([b"\0\0", b"{", b"null", b'{"seq":true,"type":"x"}', b'{"seq":1,"type":', b"\xe2\x80\xa8"])
junk = st.one_of(garbage, edges)


@st.composite
def logs(draw: st.DrawFn) -> tuple[bytes, list[Record]]:
    """A file's bytes, and the records in it."""
    seq, out, records = 0, bytearray(HEAD), []
    for _ in range(draw(st.integers(0, 25))):
        if draw(st.integers(0, 4)) == 0:
            out += draw(junk) + b"\n"
            continue
        seq += draw(st.integers(1, 1000))
        record = draw(st.sampled_from([said, answered]))(seq, draw(texts))
        before = bytes(draw(st.integers(0, 3))) if draw(st.integers(0, 9)) == 0 else b""
        out += before + encode(record) + draw(st.sampled_from([b"\n", b"\n", b"\r\n"]))
        records.append(record)
    return bytes(out), records


@contextmanager
def file_with(content: bytes) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "s.jsonl").write_bytes(content)
        yield folder / "s.jsonl"
    finally:
        shutil.rmtree(folder)


@pytest.mark.attack(23)
@given(logs(), st.integers(16, 300), st.integers(0, 30_000), st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_reading_any_log_in_blocks_of_any_size(
    log: tuple[bytes, list[Record]], block: int, place: int, cut: int
) -> None:
    content, records = log
    content = content[: max(len(HEAD), len(content) - cut)]
    whole = content.count(b"\n") - 1
    tail = decode(content.rsplit(b"\n", 1)[-1])
    kept = [one for line in content.split(b"\n")[1:] if (one := decode(line)) is not None]
    assert kept == records[: len(kept)] and (tail is None or kept[-1] == tail) and len(kept) <= whole + 1
    with patch.multiple(reading, BLOCK=block, PROBE=block // 2), file_with(content) as path:
        with SessionReader(Disk(), path, KEY) as reader:
            assert reader.head == head_of(KEY)
            assert [line.record() for line in reader.forward()] == kept
            assert [line.record() for line in reader.backward()] == kept[::-1]
            assert [line.seq for line in reader.forward(place)] == [r.seq for r in kept if r.seq > place]
            assert [line.seq for line in reader.backward(place)] == [r.seq for r in kept[::-1] if r.seq < place]
        row = scan(Disk(), path, KEY)
        assert row is not None and row.summary.record_seq == (kept[-1].seq if kept else 0)


@pytest.mark.attack(23)
@given(st.lists(st.one_of(junk, st.integers(1, 99)), max_size=12), st.integers(0, 200))
@settings(max_examples=100, deadline=None)
def test_a_journal_gives_whole_entries_only(parts: list[bytes | int], cut: int) -> None:
    content = bytearray(HEADER)
    for part in parts:
        entry = {"session_key": "k", "scope": "", "records": [{"seq": part, "type": "message", "timestamp": ""}]}
        content += (part if isinstance(part, bytes) else orjson.dumps(entry)) + b"\n"
    cut = min(cut, len(content) - len(HEADER))
    left = bytes(content[: len(content) - cut])
    with file_with(left) as path:
        entries, good, torn = read_part(Disk(), path)
    assert left[:good] + torn == left and b"\n" not in torn and left[:good].endswith(b"\n")
    expected = [part for part in parts if isinstance(part, int)]
    found = [entry["records"][0]["seq"] for entry in entries]
    assert found == expected[: len(found)] and len(expected) - len(found) <= content[good:].count(b"\n")


@st.composite
def lives(draw: st.DrawFn) -> list[Record]:
    """Records of a session in an order that may happen, or not."""
    out: list[Record] = []
    seq = 0
    for _ in range(draw(st.integers(0, 20))):
        seq += draw(st.integers(1, 5))
        turn = f"m{draw(st.integers(1, 20))}"
        kinds = [said(seq, message_id=turn), answered(seq, turn), started(seq, turn, seq + 9), mark(seq),
                 calling(seq, turn, ["a"]), updated(seq, title=turn, mode="x"), updated(seq, owner=turn),
                 said(seq, replaces=turn), updated(seq, deleted=True)]  # fmt: skip
        out.append(draw(st.sampled_from(kinds)))
    return out


@given(lives(), st.integers(0, 20))
@settings(max_examples=200, deadline=None)
def test_what_is_known_does_not_depend_on_how_it_was_learnt(records: list[Record], place: int) -> None:
    start = begun(head_of(KEY), None)
    whole = folded(start, records, 5)
    assert folded(folded(start, records[:place]), records[place:], 5) == whole
    assert folded(whole, records, 5) == whole, "read twice is read once"
    assert replace(Summary.from_bytes(KEY, whole.to_bytes()), touched=5) == whole
    assert whole.last_seq >= max((record.seq for record in records), default=0)
