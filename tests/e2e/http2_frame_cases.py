"""Cases of HTTP/2 conformance: frames, streams and connections (http2/3 to 6). Rows of: what the client does, what the
RFC demands, the outcome, the steps."""
import raw_client as raw
from abuse_case import pkt
from http2_peer import (BODY, ENABLE_PUSH, END_HEADERS, END_STREAM, INITIAL_WINDOW, MAX_FRAME, PADDED, PRIORITY_FLAG,
                        Section, answered, continuation, data, get, goaway, headers, post, priority, request_fields,
                        reset, settings, window_update)
from raw_client import ACK, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame

CASES = []
WIDER = "An endpoint MAY choose to treat a stream error as a connection error (9113 5.4.1)"
PROTOCOL = "GOAWAY PROTOCOL_ERROR"
CLOSED = "GOAWAY STREAM_CLOSED"
SIZE = "GOAWAY FRAME_SIZE_ERROR"
FLOW = "GOAWAY FLOW_CONTROL_ERROR"
HALF = len(request_fields()) // 2


def begun(stream=1, flags=END_STREAM):
    """A HEADERS frame whose block is to be continued."""
    return headers(request_fields()[:HALF], stream, flags)


REST = request_fields()[HALF:]


def ls_refs(size):
    """A body of so many bytes that the fetch service answers with 200."""
    prefix = pkt("ref-prefix " + "x" * 89)
    head = pkt("command=ls-refs") + b"0001"
    count, rest = divmod(size - len(head) - 4, len(prefix))
    return head + prefix * (count - 1) + pkt("ref-prefix " + "x" * (89 + rest)) + b"0000"


def first_frame_is_settings(peer):
    peer.until(lambda: peer.seen)
    assert peer.seen[0] == (SETTINGS, 0), peer.seen


case = Section(CASES, "http2/3.5", "9113 3.4")
case("the server's preface", "The server connection preface, a SETTINGS frame, MUST be the first frame it sends",
     "goes on", first_frame_is_settings, shake=False)
case("another preface", "An invalid connection preface MUST be treated as a connection error of type PROTOCOL_ERROR",
     PROTOCOL, preface=b"INVALID PREFACE".ljust(len(raw.PREFACE)), shake=False)

case = Section(CASES, "http2/4.1", "9113 4.1")
case("a frame of an unknown type", "Implementations MUST ignore and discard frames of unknown types", "goes on",
     frame(0x16, payload=bytes(8)))
case("an undefined flag", "Flags that have no defined semantics MUST be ignored", "goes on",
     frame(PING, 0x16, payload=b"flagged!"), lambda peer: peer.until(lambda: b"flagged!" in peer.pongs))
case("the reserved bit of the stream identifier", "It MUST be ignored when receiving", "goes on",
     frame(PING, 0, 1 << 31, b"reserved"), lambda peer: peer.until(lambda: b"reserved" in peer.pongs))

case = Section(CASES, "http2/4.2", "9113 4.2")
case("a DATA frame of 2^14 octets", "All implementations MUST be capable of receiving frames up to 2^14 octets", "200",
     post(1, ("git-protocol", "version=2")), data(ls_refs(1 << 14)))
case("a DATA frame larger than SETTINGS_MAX_FRAME_SIZE", "An endpoint MUST send an error code of FRAME_SIZE_ERROR",
     SIZE, post(), data(bytes(16385)))
case("a HEADERS frame larger than SETTINGS_MAX_FRAME_SIZE", "A frame size error in a frame that alters the state of the "
     "entire connection MUST be treated as a connection error", SIZE,
     headers(request_fields(*[(f"x-{i}", "y" * 1000) for i in range(17)])))

case = Section(CASES, "http2/4.3", "9113 4.3")
case("a field block that cannot be decoded", "A decoding error in a field block MUST be treated as a connection error of "
     "type COMPRESSION_ERROR", "GOAWAY COMPRESSION_ERROR", headers(b"\x01"))
APART = "Each field block is a contiguous sequence of frames, with no interleaved frames of any other type or stream"
case("PRIORITY within a field block", APART, PROTOCOL, begun(), priority(1), continuation(REST))
case("HEADERS of another stream within a field block", APART, PROTOCOL, begun(), begun(3), continuation(REST))

case = Section(CASES, "http2/5.1", "9113 5.1")
IDLE = ("idle: receiving any frame other than HEADERS or PRIORITY on a stream in this state MUST be treated as a "
        "connection error of type PROTOCOL_ERROR")
case("idle: DATA", IDLE, PROTOCOL, data())
case("idle: RST_STREAM", IDLE, PROTOCOL, reset())
case("idle: WINDOW_UPDATE", IDLE, PROTOCOL, window_update(100, 1))
case("idle: CONTINUATION", IDLE, PROTOCOL, continuation(request_fields()))
HALF_CLOSED = ("half-closed (remote): frames other than WINDOW_UPDATE, PRIORITY and RST_STREAM MUST be answered with a "
               "stream error of type STREAM_CLOSED")
case("half-closed (remote): DATA", HALF_CLOSED, CLOSED, get() + data(), note=WIDER)
case("half-closed (remote): HEADERS", HALF_CLOSED, CLOSED, get() + get(), note=WIDER)
UNEXPECTED = ("A CONTINUATION frame MUST be preceded by a frame without END_HEADERS; otherwise a connection error of "
              "type PROTOCOL_ERROR (9113 6.10)")
case("half-closed (remote): CONTINUATION", UNEXPECTED, PROTOCOL, get() + continuation(request_fields()))
case("closed by RST_STREAM: DATA", "Whose stream is not open MUST be answered with a stream error of type STREAM_CLOSED "
     "(9113 6.1)", "RST_STREAM STREAM_CLOSED", post(), reset(), data())
SMALLER = ("An endpoint that receives an unexpected stream identifier MUST respond with a connection error of type "
           "PROTOCOL_ERROR (9113 5.1.1)")
CLOSED_STREAM = "closed: receipt MAY be treated as a connection error of type STREAM_CLOSED"
case("closed by RST_STREAM: HEADERS", CLOSED_STREAM, PROTOCOL, post(), reset(), get(), note=SMALLER)
case("closed by RST_STREAM: CONTINUATION", UNEXPECTED, PROTOCOL, post(), reset(), continuation(request_fields()))
case("closed: DATA", "the same as after RST_STREAM", "200 RST_STREAM STREAM_CLOSED", get(), answered(),
     data())
case("closed: HEADERS", CLOSED_STREAM, PROTOCOL, get(), answered(), get(), note=SMALLER)
case("closed: CONTINUATION", UNEXPECTED, PROTOCOL, get(), answered(), continuation(request_fields()))

case = Section(CASES, "weir/5.1", "9113 5.1")  # not in the list: who was reset may not know it yet
case("closed by the server's RST_STREAM: DATA and trailers", "An endpoint that sends RST_STREAM MUST minimally process "
     "and then discard frames it receives", "RST_STREAM PROTOCOL_ERROR",
     headers(request_fields((":path", "")), flags=END_HEADERS), answered(), data(flags=0),
     headers(raw.field_block([("x-checksum", "1")])), data())

case = Section(CASES, "http2/5.1.1", "9113 5.1.1")
case("an even stream identifier", "Streams initiated by a client MUST use odd-numbered identifiers; otherwise a "
     "connection error of type PROTOCOL_ERROR", PROTOCOL, get(2))
case("an identifier smaller than one before", SMALLER, PROTOCOL, get(5), get(3))

case = Section(CASES, "http2/5.1.2", "9113 5.1.2")
case("more streams than SETTINGS_MAX_CONCURRENT_STREAMS", "A stream error of type PROTOCOL_ERROR or REFUSED_STREAM",
     PROTOCOL, b"".join(post(stream) for stream in range(1, 203, 2)), note=WIDER)

case = Section(CASES, "http2/5.3.1", "7540 5.3.1")
ITSELF = "A stream cannot depend on itself: a stream error of type PROTOCOL_ERROR"
case("HEADERS that depend on their own stream", ITSELF, PROTOCOL,
     headers(b"\0\0\0\1\x0f" + request_fields(), flags=END_HEADERS | END_STREAM | PRIORITY_FLAG), note=WIDER)
case("PRIORITY that depends on its own stream", ITSELF, "200", get(), priority(1, depends_on=1),
     note="RFC 9113 obsoletes this rule: it deprecates the priority signals (9113 5.3.2), and Weir ignores them")

case = Section(CASES, "http2/5.4.1", "9113 5.4.1")
case("a PING frame that is none: the end", "After sending the GOAWAY frame, the endpoint MUST close the connection",
     SIZE, frame(PING, payload=b"short"))
case("a PING frame that is none: the GOAWAY", "It SHOULD first send a GOAWAY frame with the last stream it processed",
     SIZE, get(), answered(), frame(PING, payload=b"short"))

case = Section(CASES, "http2/5.5", "9113 5.5")
case("an extension frame", "Implementations MUST ignore unknown values in all extensible protocol elements", "200",
     frame(0x16, 0, 1, bytes(8)), get())
case("an extension frame within a field block", "It MUST be treated as a connection error of type PROTOCOL_ERROR",
     PROTOCOL, begun(), frame(0x16, 0, 1, bytes(8)), continuation(REST))

case = Section(CASES, "http2/6.1", "9113 6.1")
case("DATA on stream 0", "The recipient MUST respond with a connection error of type PROTOCOL_ERROR", PROTOCOL,
     data(stream=0))
case("DATA on a stream that is not open", "A stream error of type STREAM_CLOSED", CLOSED, get() + data(), note=WIDER)
case("DATA padded beyond its length", "It MUST be treated as a connection error of type PROTOCOL_ERROR", PROTOCOL,
     post(), data(b"\x06" + BODY, END_STREAM | PADDED))

case = Section(CASES, "http2/6.2", "9113 6.2")
FOLLOWED = ("A HEADERS frame without END_HEADERS MUST be followed by CONTINUATION of the same stream; otherwise a "
            "connection error of type PROTOCOL_ERROR")
case("HEADERS without END_HEADERS, then PRIORITY", FOLLOWED, PROTOCOL, begun(), priority(1))
case("HEADERS without END_HEADERS, then HEADERS of another stream", FOLLOWED, PROTOCOL, begun(), get(3))
case("HEADERS on stream 0", "The recipient MUST respond with a connection error of type PROTOCOL_ERROR", PROTOCOL,
     headers(request_fields(), stream=0))
case("HEADERS padded beyond their length", "It MUST be treated as a connection error of type PROTOCOL_ERROR", PROTOCOL,
     headers(b"\xff" + request_fields(), flags=END_HEADERS | END_STREAM | PADDED))

case = Section(CASES, "http2/6.3", "9113 6.3")
case("PRIORITY on stream 0", "The recipient MUST respond with a connection error of type PROTOCOL_ERROR", PROTOCOL,
     priority(0, depends_on=1))
case("PRIORITY that has not 5 octets", "A stream error of type FRAME_SIZE_ERROR", SIZE, get(), answered(),
     frame(PRIORITY, 0, 1, b"\x80\0\0\1"), note=WIDER)

case = Section(CASES, "http2/6.4", "9113 6.4")
case("RST_STREAM on stream 0", "The recipient MUST treat this as a connection error of type PROTOCOL_ERROR", PROTOCOL,
     reset(stream=0))
case("RST_STREAM on an idle stream", "The recipient MUST treat this as a connection error of type PROTOCOL_ERROR",
     PROTOCOL, reset())
case("RST_STREAM that has not 4 octets", "It MUST be treated as a connection error of type FRAME_SIZE_ERROR", SIZE,
     post(), frame(RST_STREAM, 0, 1, b"\0\0\0"))

case = Section(CASES, "http2/6.5", "9113 6.5")
case("an acknowledgement with a payload", "It MUST be treated as a connection error of type FRAME_SIZE_ERROR", SIZE,
     frame(SETTINGS, ACK, 0, b"\0"))
case("SETTINGS on a stream", "The endpoint MUST respond with a connection error of type PROTOCOL_ERROR", PROTOCOL,
     settings((3, 100), stream=1))
case("SETTINGS that are no multiple of 6 octets", "It MUST be treated as a connection error of type FRAME_SIZE_ERROR",
     SIZE, frame(SETTINGS, payload=b"\0\3\0"))

case = Section(CASES, "http2/6.5.2", "9113 6.5.2")
case("SETTINGS_ENABLE_PUSH of 2", "Any value other than 0 or 1 MUST be treated as a connection error of type "
     "PROTOCOL_ERROR", PROTOCOL, settings((ENABLE_PUSH, 2)))
case("SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1", "It MUST be treated as a connection error of type "
     "FLOW_CONTROL_ERROR", FLOW, settings((INITIAL_WINDOW, 1 << 31)))
case("SETTINGS_MAX_FRAME_SIZE below 2^14", "It MUST be treated as a connection error of type PROTOCOL_ERROR", PROTOCOL,
     settings((MAX_FRAME, (1 << 14) - 1)))
case("SETTINGS_MAX_FRAME_SIZE above 2^24-1", "It MUST be treated as a connection error of type PROTOCOL_ERROR",
     PROTOCOL, settings((MAX_FRAME, 1 << 24)))
case("an unknown setting", "An endpoint MUST ignore that setting", "200", settings((0xFF, 1)), get())


def data_sizes(*sizes):
    """A step: these DATA frames come on stream 1, and no more behind the next round trip."""
    def step(peer):
        peer.until(lambda: sum(peer.stream(1).sizes) >= sum(sizes))
        peer.barrier()
        peer.pongs.clear()
        assert peer.stream(1).sizes == list(sizes), peer.stream(1)
    return step


REMAINDER = window_update(1 << 16, 1)  # lets the answer end

case = Section(CASES, "http2/6.5.3", "9113 6.5.3")
case("SETTINGS_INITIAL_WINDOW_SIZE twice in one frame", "Values MUST be processed in the order they appear", "200",
     settings((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)), get(), data_sizes(1), REMAINDER)
case("SETTINGS", "Once all values have been processed, the recipient MUST immediately emit SETTINGS with the ACK flag",
     "goes on", lambda peer: peer.seen.clear(), settings((INITIAL_WINDOW, 100)),
     lambda peer: peer.until(lambda: (SETTINGS, ACK) in peer.seen))

case = Section(CASES, "http2/6.7", "9113 6.7")


def no_answer(peer):
    peer.seen.clear()
    peer.send(frame(PING, ACK, 0, b"answered"))
    peer.barrier(1)
    assert peer.seen.count((PING, ACK)) == 1 and b"answered" not in peer.pongs, peer.seen
    peer.pongs.clear()


case("PING", "Receivers MUST send a PING frame with the ACK flag and an identical payload", "goes on",
     frame(PING, payload=b"h2\0\xff\1\2\3\4"), lambda peer: peer.until(lambda: b"h2\0\xff\1\2\3\4" in peer.pongs))
case("PING with ACK", "An endpoint MUST NOT respond to PING frames containing this flag", "goes on", no_answer)
case("PING on a stream", "The recipient MUST respond with a connection error of type PROTOCOL_ERROR", PROTOCOL,
     frame(PING, 0, 1, bytes(8)))
case("PING that has not 8 octets", "It MUST be treated as a connection error of type FRAME_SIZE_ERROR", SIZE,
     frame(PING, payload=bytes(6)))

case = Section(CASES, "http2/6.8", "9113 6.8")
case("GOAWAY on a stream", "It MUST be treated as a connection error of type PROTOCOL_ERROR", PROTOCOL, goaway(stream=1))

case = Section(CASES, "http2/6.9", "9113 6.9")
case("an increment of 0 for the connection", "It MUST be treated as a connection error of type PROTOCOL_ERROR", PROTOCOL,
     window_update(0))
case("an increment of 0 for a stream", "It MUST be treated as a stream error of type PROTOCOL_ERROR",
     PROTOCOL, post(), window_update(0, 1), note=WIDER)
case("WINDOW_UPDATE that has not 4 octets", "It MUST be treated as a connection error of type FRAME_SIZE_ERROR", SIZE,
     frame(WINDOW_UPDATE, payload=b"\0\0\1"))

case = Section(CASES, "http2/6.9.1", "9113 6.9.1")
case("a window of 1 octet", "The sender MUST NOT send a flow-controlled frame that exceeds the space available", "200",
     settings((INITIAL_WINDOW, 1)), get(), data_sizes(1), REMAINDER)
case("a connection's window above 2^31-1", "A GOAWAY frame with an error code of FLOW_CONTROL_ERROR", FLOW,
     window_update((1 << 31) - 1), window_update((1 << 31) - 1))
case("a stream's window above 2^31-1", "A RST_STREAM with an error code of FLOW_CONTROL_ERROR",
     "RST_STREAM FLOW_CONTROL_ERROR", post(), window_update((1 << 31) - 1, 1), window_update((1 << 31) - 1, 1))

case = Section(CASES, "http2/6.9.2", "9113 6.9.2")
case("SETTINGS_INITIAL_WINDOW_SIZE changed with a stream open", "The receiver MUST adjust the size of all stream "
     "flow-control windows", "200", settings((INITIAL_WINDOW, 0)), get(), data_sizes(),
     settings((INITIAL_WINDOW, 1)), data_sizes(1), REMAINDER)
case("a window that becomes negative", "The sender MUST track the negative window and MUST NOT send until it is "
     "positive", "200", settings((INITIAL_WINDOW, 3)), get(), data_sizes(3), settings((INITIAL_WINDOW, 2)),
     data_sizes(3), window_update(2, 1), data_sizes(3, 1), REMAINDER)
case("SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1, in the preface", "A connection error of type FLOW_CONTROL_ERROR", FLOW,
     preface=raw.PREFACE + settings((INITIAL_WINDOW, 1 << 31)), shake=False)

case = Section(CASES, "http2/6.10", "9113 6.10")
case("several CONTINUATION frames", "Any number of CONTINUATION frames can be sent", "200", begun(),
     continuation(REST[:20], 0), continuation(REST[20:]))
case("CONTINUATION, then another frame", "A receiver MUST treat any other frame as a connection error of type "
     "PROTOCOL_ERROR", PROTOCOL, begun(), continuation(REST, 0), data())
case("CONTINUATION on stream 0", "The recipient MUST respond with a connection error of type PROTOCOL_ERROR", PROTOCOL,
     begun(), continuation(REST, stream=0))
case("CONTINUATION behind HEADERS with END_HEADERS", UNEXPECTED, PROTOCOL, post() + continuation(REST))
case("CONTINUATION behind CONTINUATION with END_HEADERS", UNEXPECTED, PROTOCOL, begun(flags=0) + continuation(REST) +
     continuation(REST))
case("CONTINUATION behind DATA", UNEXPECTED, PROTOCOL, post() + data(flags=0) + continuation(REST))
