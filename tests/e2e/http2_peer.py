"""An HTTP/2 peer for tests of conformance: sends frames as a case gives them and tells in a few words what the
server made of them. What a case is, and where cases come from: http2_conformance_test.py."""
import dataclasses
import itertools
import re
import struct

import raw_client as raw
from raw_client import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY,
                        RST_STREAM, SETTINGS, WINDOW_UPDATE, Http2Connection, field_block, frame)

REFS = "/acme/site.git/info/refs?service=git-upload-pack"
UPLOAD = "/acme/site.git/git-upload-pack"
PADDED, PRIORITY_FLAG = 0x08, 0x20
ERRORS = ("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
          "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
          "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED")
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 1, 2, 3, 4, 5
STATIC_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
BODY = b"0000"  # a flush: the shortest body that the fetch service answers with 200


# --- what cases are made of -----------------------------------------------------------------------

def get(stream=1, *fields, flags=END_HEADERS | END_STREAM, path=REFS, method="GET"):
    return frame(HEADERS, flags, stream, raw.request_block(path, method, *fields))


def post_block(*fields):
    return raw.request_block(UPLOAD, "POST", ("content-type", "application/x-git-upload-pack-request"), *fields)


def post(stream=1, *fields, flags=END_HEADERS):
    """The head of a request whose body follows."""
    return frame(HEADERS, flags, stream, post_block(*fields))


def headers(block, stream=1, flags=END_HEADERS | END_STREAM):
    return frame(HEADERS, flags, stream, block)


def data(payload=BODY, flags=END_STREAM, stream=1):
    return frame(DATA, flags, stream, payload)


def continuation(block, flags=END_HEADERS, stream=1):
    return frame(CONTINUATION, flags, stream, block)


def settings(*pairs, flags=0, stream=0):
    return frame(SETTINGS, flags, stream, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def number_frame(kind, number, stream):
    """RST_STREAM's error, WINDOW_UPDATE's increment."""
    return frame(kind, 0, stream, struct.pack(">I", number))


def reset(error=8, stream=1):
    return number_frame(RST_STREAM, error, stream)


def window_update(increment, stream=0):
    return number_frame(WINDOW_UPDATE, increment, stream)


def priority(stream=1, depends_on=0, weight=16, exclusive=False):
    return frame(PRIORITY, 0, stream, struct.pack(">IB", depends_on | exclusive << 31, weight - 1))


def goaway(error=0, stream=0):
    return frame(GOAWAY, 0, stream, struct.pack(">II", 0, error))


REQUEST_FIELDS = ((":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", REFS))


def request_fields(*more, without=()):
    """A header block of a GET: some of its pseudo-header fields, then `more`."""
    return field_block([field for field in REQUEST_FIELDS if field[0] not in without] + list(more))


# --- the peer ---------------------------------------------------------------------------------------

@dataclasses.dataclass
class Stream:
    status: str = ""
    sizes: list = dataclasses.field(default_factory=list)  # of its DATA frames
    ended: bool = False
    reset: str = ""

    def done(self):
        return self.ended or bool(self.reset)

    def __str__(self):
        return " ".join(filter(None, (self.status, self.reset and f"RST_STREAM {self.reset}")))


class Peer(Http2Connection):
    """Takes in what comes, by stream; `shake` False: the case begins before the server's SETTINGS were read."""

    def __init__(self, weir, preface, shake):
        super(Http2Connection, self).__init__(weir, alpn="h2")
        self.buffer = b""
        self.send(preface)
        self.streams, self.seen, self.pongs = {}, [], []
        self.goaway_codes, self.open = [], True
        if shake:
            self.until(lambda: (SETTINGS, 0) in self.seen and (SETTINGS, ACK) in self.seen)
            self.send(frame(SETTINGS, ACK))

    def take(self):
        got = self.next_frame()
        if got is None:
            self.open = False
            return
        kind, flags, stream, payload = got
        self.seen.append((kind, flags & ACK if kind in (SETTINGS, PING) else 0))
        if kind == GOAWAY:
            self.goaway_codes.append(struct.unpack(">I", payload[4:8])[0])
        elif kind == PING and flags & ACK:
            self.pongs.append(payload)
        elif kind in (HEADERS, DATA, RST_STREAM):
            state = self.streams.setdefault(stream, Stream())
            if kind == HEADERS:
                state.status = state.status or status_in(payload)
            elif kind == DATA:
                state.sizes.append(len(payload))
            else:
                state.reset = error_name(struct.unpack(">I", payload)[0])
            state.ended |= kind != RST_STREAM and bool(flags & END_STREAM)

    def until(self, condition):
        while self.open and not condition():
            self.take()

    def stream(self, number):
        return self.streams.setdefault(number, Stream())

    def barrier(self, count=2):
        """All before has been dealt with: acknowledgements overtake other frames of one turn, not of two."""
        for number in range(count):
            mark = struct.pack(">II", 0xBA221E12, number)
            self.send(frame(PING, payload=mark))
            self.until(lambda: mark in self.pongs)

    def outcome(self, awaited):
        """In words: the streams awaited, then how the connection fares."""
        self.until(lambda: all(self.stream(number).done() for number in awaited))
        self.barrier()
        if self.goaway_codes and not self.open:
            return f"GOAWAY {error_name(self.goaway_codes[-1])}"
        told = [str(self.streams[number]) for number in sorted(self.streams)]
        return ", ".join(filter(None, [*told, "" if self.open else "closed"])) or "goes on"


def error_name(code):
    return ERRORS[code] if code < len(ERRORS) else hex(code)


# --- reading a status -------------------------------------------------------------------------------

DIGIT_CODES = {**{format(i, "05b"): str(i) for i in range(3)},
               **{format(0x19 + i - 3, "06b"): str(i) for i in range(3, 10)}}  # RFC 7541, appendix B


def status_in(block):
    """The value of :status, which comes first; only what a server uses to say it."""
    if block[0] & 0x80:
        return str(STATIC_STATUS.get(block[0] & 0x7F, "?"))
    value = block[2:2 + (block[1] & 0x7F)]
    if not block[1] & 0x80:
        return value.decode()
    bits = "".join(format(byte, "08b") for byte in value)
    return "".join(DIGIT_CODES[code] for code in re.findall("|".join(DIGIT_CODES), bits)[:3])


# --- a case ----------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Case:
    key: str       # where the public list has it
    rfc: str       # "9113 6.1": document and section
    title: str     # what the client does
    demand: str    # what the document asks of the server
    steps: tuple   # bytes to send, or functions that take the Peer
    expected: str  # as Peer.outcome() tells it
    streams: tuple = ()        # whose end is waited for
    preface: bytes = raw.PREFACE + frame(SETTINGS)
    shake: bool = True
    note: str = ""             # the sentence that allows this outcome where the demand is another

    def run(self, weir):
        with Peer(weir, self.preface, self.shake) as peer:
            for step in self.steps:
                step(peer) if callable(step) else peer.send(step)
            return peer.outcome(self.streams)


class Section:
    """Makes the cases of one section of the list and numbers them."""

    def __init__(self, cases, key, rfc):
        self.cases, self.key, self.rfc, self.numbers = cases, key, rfc, itertools.count(1)

    def __call__(self, title, demand, expected, *steps, **more):
        streams = more.pop("streams", (1,) if expected[0].isdigit() or expected.startswith("RST") else ())
        rfc = more.pop("rfc", self.rfc)
        self.cases.append(Case(f"{self.key}/{next(self.numbers)}", rfc, title, demand, steps, expected,
                               streams, **more))


def answered(number=1):
    """A step: wait until the server has ended this stream."""
    return lambda peer: peer.until(peer.stream(number).done)
