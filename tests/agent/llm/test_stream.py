"""The assembler of streamed answers: every cutting of the bytes, and every bad habit of servers."""

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.llm.stream import ReplyStream
from agent.llm.stream_calls import CallAssembler
from agent.llm.stream_limits import Assembled, StreamBroken


def event(value: Any, ending: bytes = b"\n\n", escaped: bool = True) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass") + ending


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def text(*parts: str) -> bytes:
    return b"".join(event(chunk({"content": part})) for part in parts)


def call(**members: Any) -> bytes:
    return event(chunk({"tool_calls": [members]}))


STOP = event(chunk({}, "stop")) + b"data: [DONE]\n\n"
CALLS = event(chunk({}, "tool_calls")) + b"data: [DONE]\n\n"


def read(data: bytes, cuts: list[int] | None = None, **limits: int) -> tuple[Assembled | StreamBroken, list[str]]:
    """Feed `data`, cut at `cuts`; what came of it, and what was handed out on the way."""
    given_out: list[str] = []
    stream = ReplyStream(given_out.append, **limits)
    places = [0, *sorted(cuts or []), len(data)]
    try:
        for start, end in itertools.pairwise(places):
            if start < end:
                stream.feed(data[start:end])
        return stream.finish(), given_out
    except StreamBroken as broken:
        return broken, given_out


def whole(data: bytes, **limits: int) -> Assembled:
    found, given_out = read(data, **limits)
    assert isinstance(found, Assembled), found
    assert "".join(given_out) == found.text
    return found


def broken(data: bytes) -> StreamBroken:
    found, _ = read(data)
    assert isinstance(found, StreamBroken), found
    return found


GARBAGE = st.sampled_from(
    [b"data: {broken\n\n", b"nonsense\n", b"\r\n", b": comment\n\n", b"event: ping\ndata: {}\n\n", b"data: 17\n\n",
     b"\xff\xfe\n", b"id: 3\r\n", b"data:\n\n", b"\n\n\n", b"data: null\n\n", b'data: {"choices": null}\n\n',
     b'data: {"choices": [null, 3, {"delta": 5}]}\n\n', b'data: {"choices":[{"delta":{"content":null}}]}\n\n']
)  # fmt: skip
CONTENT = st.text(max_size=12).map(lambda said: event(chunk({"content": said}), escaped=False))
ESCAPED = st.text(max_size=12).map(lambda said: event(chunk({"content": said})))
CRLF = st.text(max_size=5).map(lambda said: event(chunk({"content": said}), b"\r\n\r\n"))
FRAGMENT = st.builds(
    lambda index, name, said: call(
        **({} if index is None else {"index": index}), function={"name": name, "arguments": said}
    ),
    st.none() | st.integers(0, 2), st.none() | st.sampled_from(["clock", "memory"]), st.text(max_size=8),
)  # fmt: skip
USAGE = st.just(event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}))


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(st.one_of(CONTENT, ESCAPED, CRLF, FRAGMENT, GARBAGE, USAGE), max_size=12),
    ending=st.sampled_from([STOP, CALLS, b"", b"data: [DONE]\n\n", event(chunk({}, "length"), b"")]),
    data=st.data(),
)
def test_any_cutting_gives_the_same(parts: list[bytes], ending: bytes, data: st.DataObject) -> None:
    joined = b"".join(parts) + ending
    cuts = data.draw(st.lists(st.integers(0, len(joined)), max_size=20))
    for ways in (cuts, list(range(len(joined)))):
        first, first_given = read(joined)
        second, second_given = read(joined, ways)
        assert first_given == second_given
        if isinstance(first, StreamBroken):
            assert isinstance(second, StreamBroken)
            assert (first.kind, first.detail) == (second.kind, second.detail)
        else:
            assert first == second


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=20))
def test_text_comes_out_as_it_went_in(parts: list[str]) -> None:
    assert whole(text(*parts) + STOP).text == "".join(parts)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    read(data)
    read(data + STOP)


def test_plain_text_with_usage() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    found = whole(
        text("Hel", "lo") + event(chunk({}, "stop")) + event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"
    )
    assert (found.text, found.finish_reason, found.usage, found.model) == ("Hello", "stop", usage, "m")


def test_no_done_marker_is_fine_and_no_reason_is_not() -> None:
    assert whole(text("a") + event(chunk({}, "stop"))).text == "a"
    assert broken(text("a")).kind == "truncated"
    assert broken(text("a") + b"data: [DONE]\n\n").kind == "truncated"
    assert broken(b"").kind == "truncated"


def test_the_last_line_may_lack_its_end() -> None:
    assert whole(text("a") + event(chunk({"content": "b"}, "stop"), b"")).text == "ab"


def test_cut_in_the_middle_of_an_event_is_truncated() -> None:
    found, given_out = read(text("one ") + b'data: {"choices":[{"delta":{"content":"tw')
    assert isinstance(found, StreamBroken)
    assert (found.kind, given_out) == ("truncated", ["one "])


def test_an_event_over_two_data_lines() -> None:
    assert whole(b'data: {"choices": [{"index": 0,\ndata: "delta": {"content": "x"}}]}\n\n' + STOP).text == "x"


def test_one_broken_line_does_not_spoil_its_neighbours_even_without_blank_lines() -> None:
    data = b"data: {broken\n" + text("good").replace(b"\n\n", b"\n") + STOP.replace(b"\n\n", b"\n")
    assert whole(data).text == "good"


def test_byte_order_mark_and_no_space_after_the_colon() -> None:
    data = b"\xef\xbb\xbf" + (text("a") + STOP).replace(b"data: ", b"data:")
    assert whole(data).text == "a"


def test_halves_of_an_emoji_in_two_deltas() -> None:
    alone = b'data: {"choices":[{"delta":{"content":"x\\ud83d"}}]}\n\n'
    other = b'data: {"choices":[{"delta":{"content":"\\ude00y"}}]}\n\n'
    assert whole(alone + other + STOP).text == "x😀y"
    assert whole(alone + text("y") + STOP).text == "x\ufffdy"
    assert whole(alone + STOP).text == "x\ufffd"


def test_refusals_are_text_and_reasoning_is_progress_only() -> None:
    given_out: list[str] = []
    stream = ReplyStream(given_out.append)
    stream.feed(event(chunk({"reasoning_content": "hmm"})))
    assert (stream.events, stream.begun) == (1, False)
    stream.feed(event(chunk({"refusal": "No."})) + STOP)
    assert stream.finish().text == "No."


def test_text_in_parts_and_in_whole_messages_is_text() -> None:
    thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    parts = [{"type": "text", "text": "Hel"}, thoughts, {"type": "text", "text": "lo"}, 7, {"type": "text", "text": 8}]
    assert whole(event(chunk({"content": parts})) + STOP).text == "Hello"
    message = {"role": "assistant", "content": "Hello"}
    assert whole(event({"choices": [{"message": message, "finish_reason": "stop"}]})).text == "Hello"
    again = {"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}
    assert whole(text("Hel", "lo") + event(again)).text == "Hello"
    document = json.dumps({"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}).encode()
    assert whole(document).text == "Hello"


def test_reasons_and_counts_in_other_places_and_letters() -> None:
    assert whole(text("a") + event(chunk({}, "MAX_TOKENS"))).finish_reason == "length"
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}]}
    assert whole(text("a") + event(end)).usage == usage


@pytest.mark.parametrize("error", [{"message": "on fire", "code": 500}, "on fire"])
def test_an_error_in_the_stream(error: Any) -> None:
    found, given_out = read(text("half ") + event({"error": error}))
    assert isinstance(found, StreamBroken)
    assert (found.kind, found.detail, given_out) == ("error", "on fire", ["half "])


def test_an_error_as_a_reason_to_finish() -> None:
    assert broken(text("half ") + event(chunk({}, "error"))).kind == "error"


@pytest.mark.attack(65)
def test_pages_and_noise_are_garbage() -> None:
    assert broken(b"<!doctype html><html></html>").kind == "garbage"
    assert broken(b"\n  <html>").kind == "garbage"
    assert broken(b"data: {not json\n\nwhat\n\ndata: 17\n\n").kind == "garbage"
    assert broken(b"what\n" * 1000).kind == "garbage"
    assert broken(b"{not a document").kind == "garbage"


@pytest.mark.attack(65)
def test_a_delta_of_ten_megabytes_ends_with_length() -> None:
    found, given_out = read(text("x" * 10_000_000) + STOP, list(range(0, 10_000_000, 65_536)))
    assert isinstance(found, Assembled)
    assert (len(found.text), found.finish_reason) == (262_144, "length")
    assert max(map(len, given_out)) <= 16_384


@pytest.mark.attack(65)
def test_an_endless_stream_ends_with_length() -> None:
    given_out: list[str] = []
    stream = ReplyStream(given_out.append, max_chars=1000)
    fed = 0
    while not stream.done:
        stream.feed(text("and on " * 10))
        fed += 1
    found = stream.finish()
    assert (len(found.text), found.finish_reason, fed) == (1000, "length", 15)


def test_endless_bytes_without_text_end_too() -> None:
    stream = ReplyStream(lambda _: None, max_bytes=10_000)
    while not stream.done:
        stream.feed(b": keep-alive\n\n" * 10)
    assert stream.finish().finish_reason == "length"


def test_a_line_without_end_is_garbage() -> None:
    stream = ReplyStream(lambda _: None, max_bytes=10**9)
    with pytest.raises(StreamBroken):
        while True:
            stream.feed(b"x" * 1_000_000)


def test_one_completion_instead_of_a_stream() -> None:
    message = {
        "role": "assistant",
        "content": "all",
        "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
    }
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 1}}
    found = whole(json.dumps(body, indent=2).encode())
    assert (found.text, found.calls[0].name, found.usage) == ("all", "f", {"prompt_tokens": 1})


# ---------------------------------------------------------------- tool calls


def test_fragments_by_index() -> None:
    data = (
        call(index=0, id="a", function={"name": "clock", "arguments": ""})
        + call(index=1, id="b", function={"name": "memory", "arguments": '{"x'})
        + call(index=0, function={"arguments": '{"zone":'})
        + call(index=1, function={"arguments": '":1}'})
        + call(index=0, function={"arguments": '"UTC"}'})
    )
    found = whole(text("Let me see.") + data + CALLS)
    assert [(c.call_id, c.name, c.arguments) for c in found.calls] == [
        ("a", "clock", '{"zone":"UTC"}'), ("b", "memory", '{"x":1}'),
    ]  # fmt: skip
    assert (found.text, found.finish_reason) == ("Let me see.", "tool_calls")


def test_fragments_without_index_follow_the_last_id() -> None:
    data = (
        call(id="a", function={"name": "clock", "arguments": '{"z'})
        + call(function={"arguments": '":1}'})
        + call(id="b", function={"name": "memory", "arguments": "{}"})
    )
    found = whole(data + CALLS)
    assert [(c.call_id, c.arguments) for c in found.calls] == [("a", '{"z":1}'), ("b", "{}")]


def test_neither_index_nor_id() -> None:
    data = call(function={"name": "clock", "arguments": "{}"}) + call(function={"name": "memory", "arguments": "{}"})
    found = whole(data + CALLS)
    assert [(c.call_id, c.name) for c in found.calls] == [("call_0", "clock"), ("call_1", "memory")]


def test_the_same_index_for_every_call() -> None:
    data = b"".join(call(index=0, id=name, function={"name": "clock", "arguments": "{}"}) for name in "abc")
    assert [c.call_id for c in whole(data + CALLS).calls] == ["a", "b", "c"]


def test_the_id_with_every_fragment() -> None:
    data = call(index=0, id="a", function={"name": "clock", "arguments": '{"a'}) + call(
        index=0, id="a", function={"name": "clock", "arguments": '":1}'}
    )
    (found,) = whole(data + CALLS).calls
    assert (found.name, found.arguments) == ("clock", '{"a":1}')


def test_the_same_index_and_id_or_none_for_every_call() -> None:
    """A name with arguments behind whole arguments is another call, whatever its number and id."""
    for more in ({"id": "a"}, {}):
        data = call(index=0, **more, function={"name": "clock", "arguments": "{}"})
        data += call(index=0, **more, function={"name": "look", "arguments": '{"a'})
        data += call(index=0, **more, function={"name": "look", "arguments": '":1}'})
        data += call(index=0, **more, function={"name": "look", "arguments": ""})
        found = [(one.name, one.arguments) for one in whole(data + CALLS).calls]
        assert found == [("clock", "{}"), ("look", '{"a":1}')]


def test_a_call_that_is_told_once_more_as_a_whole_is_one() -> None:
    data = call(index=0, id="a", function={"name": "clock", "arguments": '{"a'})
    data += call(index=0, function={"arguments": '":1}'})
    data += call(index=0, id="a", function={"name": "clock", "arguments": '{"a":1}'})
    (found,) = whole(data + CALLS).calls
    assert (found.call_id, found.name, found.arguments) == ("a", "clock", '{"a":1}')


@pytest.mark.attack(66)
def test_repeated_ids_become_unique() -> None:
    data = b"".join(call(index=n, id="same", function={"name": "clock", "arguments": "{}"}) for n in range(3))
    assert [c.call_id for c in whole(data + CALLS).calls] == ["same", "same-2", "same-3"]


def test_calls_under_stop_are_calls_and_no_calls_under_tool_calls_is_a_stop() -> None:
    one = call(index=0, id="a", function={"name": "clock"})
    assert whole(one + STOP).finish_reason == "tool_calls"
    assert whole(one + STOP).calls[0].arguments == "{}"
    assert whole(text("x") + CALLS).finish_reason == "stop"


def test_calls_that_were_cut_by_the_length_are_not_made() -> None:
    one = call(index=0, id="a", function={"name": "clock", "arguments": '{"zo'})
    found = whole(one + event(chunk({}, "length")))
    assert (found.calls, found.finish_reason) == ((), "length")


@pytest.mark.attack(66)
def test_five_megabytes_of_arguments_are_kept_up_to_what_the_executor_refuses() -> None:
    data = call(index=0, id="a", function={"name": "clock", "arguments": ""}) + b"".join(
        call(index=0, function={"arguments": "x" * 100_000}) for _ in range(50)
    )
    (found,) = whole(data + CALLS).calls
    assert len(found.arguments) == 1_048_577


@pytest.mark.attack(66)
def test_a_thousand_calls() -> None:
    data = b"".join(call(index=n, id=f"c{n}", function={"name": "clock", "arguments": "{}"}) for n in range(1000))
    assert len(whole(data + CALLS).calls) == 1000


def test_members_of_wrong_types() -> None:
    data = call(index="x", id=5, function={"name": ["f"], "arguments": {"a": 1}}) + event(
        chunk({"tool_calls": ["what", None, {"function": None}], "content": 5})
    )
    (found,) = whole(data + CALLS).calls
    assert (found.name, found.arguments) == ("", '{"a":1}')


def test_names_with_each_fragment_cost_no_more_than_the_fragments() -> None:
    calls = CallAssembler()
    begun = time.thread_time()
    calls.add({"function": {"name": "write", "arguments": '{"text": "'}})
    for _ in range(15_000):
        calls.add({"function": {"name": "write", "arguments": "four"}})
    calls.add({"function": {"name": "write", "arguments": '"}'}})
    calls.add({"function": {"name": "read", "arguments": "{}"}})
    assert time.thread_time() - begun < 0.5
    assert [(call.name, len(call.arguments)) for call in calls.calls()] == [("write", 60_012), ("read", 2)]
