"""What hostile clients send, for tests and for perf/floods.py: floods of HTTP/2 frames by name, bombs, beginnings of
handshakes and requests that never end."""
import dataclasses
import struct
import zlib
from collections.abc import Callable

import raw_client as raw
from abuse_case import REFS, UPLOAD
from raw_client import END_HEADERS, END_STREAM, frame

CANCEL = struct.pack(">I", 8)
UPLOAD_HEAD = raw.request_block(UPLOAD, "POST", ("content-type", "application/x-git-upload-pack-request"))
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # a ClientHello that does not go on


@dataclasses.dataclass(frozen=True)
class Http2Flood:
    name: str
    frames: Callable  # an iterator of bytes, finite
    settings: bytes = b""
    errors: tuple = ()  # of the GOAWAY, beside ENHANCE_YOUR_CALM


def rapid_reset():
    block = raw.request_block(REFS)
    for stream in range(1, 20001, 2):
        yield (frame(raw.HEADERS, END_HEADERS | END_STREAM, stream, block) +
               frame(raw.RST_STREAM, stream=stream, payload=CANCEL))


def reset_by_the_servers_hand():
    """The server is made to reset: a window update of zero for each stream."""
    block = raw.request_block(REFS)
    for stream in range(1, 20001, 2):
        yield (frame(raw.HEADERS, END_HEADERS | END_STREAM, stream, block) +
               frame(raw.WINDOW_UPDATE, stream=stream, payload=struct.pack(">I", 0)))


def continuations():
    yield frame(raw.HEADERS, END_STREAM, 1, raw.request_block(REFS))
    for number in range(2000):
        yield frame(raw.CONTINUATION, 0, 1, raw.field_block([(f"x-{number}", "y" * 4000)]))


def empty_continuations():
    yield frame(raw.HEADERS, END_STREAM, 1, raw.request_block(REFS))
    yield from [frame(raw.CONTINUATION, 0, 1)] * 20000


def pings():
    yield from [frame(raw.PING, payload=bytes(8)) * 10] * 2000


def settings():
    yield from [frame(raw.SETTINGS, payload=struct.pack(">HI", 4, 65535)) * 10] * 2000


def empty_data():
    yield frame(raw.HEADERS, END_HEADERS, 1, UPLOAD_HEAD)
    yield from [frame(raw.DATA, 0, 1) * 10] * 2000


def data_on_a_closed_stream():
    yield frame(raw.HEADERS, END_HEADERS, 1, UPLOAD_HEAD) + frame(raw.RST_STREAM, stream=1, payload=CANCEL)
    for stream in range(3, 2003, 2):
        yield (frame(raw.HEADERS, END_HEADERS, stream, UPLOAD_HEAD) +
               frame(raw.RST_STREAM, stream=stream, payload=CANCEL) + frame(raw.DATA, 0, stream, b"0"))


def priorities():
    yield from [frame(raw.PRIORITY, 0, 1, struct.pack(">IB", 0, 1)) * 10] * 2000


def window_dribble():
    for stream in range(1, 21, 2):
        yield frame(raw.HEADERS, END_HEADERS | END_STREAM, stream, raw.request_block(REFS))
    for turn in range(20000):
        yield frame(raw.WINDOW_UPDATE, 0, turn % 10 * 2 + 1, struct.pack(">I", 1))


def header_bombs():
    """A field put into the table once and named ten thousand times."""
    table = b"\x40" + raw.hpack_length(1) + b"x" + raw.hpack_length(3500) + b"y" * 3500
    block = raw.request_block(REFS) + table + b"\xbe" * 10000
    for stream in range(1, 401, 2):
        yield frame(raw.HEADERS, END_HEADERS | END_STREAM, stream, block)


def streams_beyond_the_limit():
    for stream in range(1, 2001, 2):
        yield frame(raw.HEADERS, END_HEADERS, stream, UPLOAD_HEAD)


HTTP2_FLOODS = (
    Http2Flood("rapid reset", rapid_reset),
    Http2Flood("resets by the server's hand", reset_by_the_servers_hand, errors=(raw.PROTOCOL_ERROR,)),
    Http2Flood("CONTINUATION", continuations),
    Http2Flood("empty CONTINUATION", empty_continuations),
    Http2Flood("PING", pings),
    Http2Flood("SETTINGS", settings),
    Http2Flood("empty DATA", empty_data),
    Http2Flood("DATA on closed streams", data_on_a_closed_stream),
    Http2Flood("PRIORITY", priorities),
    Http2Flood("window dribbling", window_dribble, settings=struct.pack(">HI", 4, 0)),
    Http2Flood("header bombs", header_bombs),
    Http2Flood("streams beyond the limit", streams_beyond_the_limit),
)


def gzip_bomb(start, megabytes):
    """`start` and so many mebibytes of zeros, compressed about a thousandfold."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(start) + b"".join(
        packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()
