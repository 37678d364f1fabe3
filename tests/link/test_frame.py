"""Frames: what is encoded comes back, however it is cut; what is damaged does not come at all."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trimtab.frame import PAYLOAD_MAX, Reader, encode, framed

payloads = st.one_of(
    st.binary(min_size=1, max_size=600),
    st.lists(st.sampled_from([0, 1, 255]), min_size=1, max_size=600).map(bytes),
)


def read(data, pieces=None, limit=PAYLOAD_MAX):
    reader = Reader(limit)
    return [bytes(payload) for piece in pieces or [data] for payload in reader.feed(piece)], reader


@given(st.lists(payloads, min_size=1, max_size=4), st.randoms())
@settings(max_examples=150, deadline=None)
def test_payloads_come_back_however_the_bytes_are_cut(sent, rng):
    data = b"".join(map(encode, sent))
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(9))
    pieces = [data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)])]
    assert read(data)[0] == sent
    assert read(None, pieces)[0] == sent


@pytest.mark.parametrize("n", [1, 249, 250, 251, 253, 254, 255, 504, 505, 1024])
@pytest.mark.parametrize("byte", [0, 7, 255])
def test_lengths_around_a_full_block(n, byte):
    payload = bytes([byte]) * n
    data = encode(payload)
    assert data.count(0) == 1 and len(data) <= framed(n)
    assert read(None, [data[i : i + 1] for i in range(len(data))])[0] == [payload]


def test_the_bytes_on_the_line():
    # COBS: the first byte tells where the first zero was; CRC32 of "A\0B" is 0x4c8f2db1 (little-endian on the
    # line)
    import zlib

    crc = zlib.crc32(b"A\0B").to_bytes(4, "little")
    assert 0 not in crc
    assert encode(b"A\0B") == b"\x02A\x06B" + crc + b"\0"


def test_a_frame_that_is_too_long_is_refused_at_both_ends():
    with pytest.raises(ValueError, match="send it in parts"):
        encode(bytes(PAYLOAD_MAX + 1))
    got, reader = read(encode(bytes(70)) + encode(b"next"), limit=64)
    assert got == [b"next"] and reader.damaged == 1


def test_no_damage_passes_and_the_next_frame_is_found():
    """Single flips, losses and repeats at every byte of a stream: each payload that comes was sent."""
    sent = [bytes(range(1, 40)), bytes(20), b"third", b"last"]
    data = b"".join(map(encode, sent))
    for at in range(len(data)):
        for damaged in (
            data[:at] + data[at + 1 :],
            data[:at] + data[at : at + 1] + data[at:],
            *(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for bit in range(8)),
        ):
            got, _ = read(damaged)
            assert set(got) <= set(sent)
            assert len(got) >= 2  # one damaged byte costs at most two frames: a delimiter joins them


def test_random_streams_never_pass():
    rng = random.Random(1)
    reader = Reader(256)
    for _ in range(3000):
        noise = bytes(rng.choice((0, 1, 2, 3, 255, rng.randrange(256))) for _ in range(rng.randrange(80)))
        for payload in reader.feed(noise + b"\0"):
            pytest.fail("noise passed as %r" % bytes(payload))
    assert reader.damaged > 1000


@given(st.lists(payloads, min_size=1, max_size=3), st.randoms())
@settings(max_examples=50, deadline=None)
def test_sure_bytes_never_reach_past_a_frame(sent, rng):
    """A port may wait for that many bytes: there is always a frame's end at or after the last of them."""
    reader = Reader()
    data = b"".join(map(encode, sent))
    at = 0
    while at < len(data):
        sure = reader.sure()
        assert 1 <= sure <= data.index(0, at) + 1 - at
        step = rng.randrange(1, sure + 1)
        list(reader.feed(data[at : at + step]))
        at += step
