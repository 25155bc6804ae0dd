"""Cases of HTTP/2 conformance: what every client does (generic), header compression (hpack), and messages (http2/7
and 8). Rows of: what the client does, what the RFC demands, the outcome, the steps."""
from http2_peer import (BODY, END_HEADERS, END_STREAM, MAX_STREAMS, PADDED, PRIORITY_FLAG, REFS, Section, answered,
                        continuation, data, get, goaway, headers, post, priority, request_fields, reset, settings,
                        window_update)
from raw_client import ACK, PING, PUSH_PROMISE, SETTINGS, field_block, frame

CASES = []
PAD = bytes(6)

# --- generic: what any client may do -----------------------------------------------------------------

case = Section(CASES, "generic/1", "9113 3.4")
case("the connection preface", "The client connection preface starts with a sequence of 24 octets, followed by a "
     "SETTINGS frame, which MAY be empty", "goes on")

case = Section(CASES, "generic/2", "9113 5.1")
case("PRIORITY on an idle stream", "PRIORITY can be sent in any stream state", "200", priority(3), get())
case("WINDOW_UPDATE on a half-closed (remote) stream", "half-closed (remote): an endpoint can receive WINDOW_UPDATE",
     "200", get(), window_update(100, 1))
case("PRIORITY on a half-closed (remote) stream", "PRIORITY can be received in this state", "200", get(), priority(1))
case("RST_STREAM on a half-closed (remote) stream", "RST_STREAM can be received in this state; it ends the stream and "
     "nothing else", "goes on", get() + reset())
case("PRIORITY on a closed stream", "PRIORITY can be received on closed streams", "200", get(), answered(),
     priority(1))

case = Section(CASES, "generic/3.1", "9113 6.1")
case("a DATA frame", "DATA frames carry the content of a request", "200", post(), data())
case("several DATA frames", "a body may come in any number of frames", "200", post(), data(b"00", 0), data(b"00"))
case("a DATA frame with padding", "padding is dropped", "200", post(),
     data(bytes([len(PAD)]) + BODY + PAD, END_STREAM | PADDED))

case = Section(CASES, "generic/3.2", "9113 6.2")
case("a HEADERS frame", "HEADERS opens a stream", "200", get())
case("a HEADERS frame with padding", "padding is dropped", "200",
     headers(bytes([len(PAD)]) + request_fields() + PAD, flags=END_HEADERS | END_STREAM | PADDED))
case("a HEADERS frame with priority", "priority fields are parsed, and may be ignored", "200",
     headers(b"\x80\0\0\0\xff" + request_fields(), flags=END_HEADERS | END_STREAM | PRIORITY_FLAG))

case = Section(CASES, "generic/3.3", "9113 6.3")
case("PRIORITY of weight 1", "the frame is accepted", "200", priority(1, weight=1), get())
case("PRIORITY of weight 256", "the frame is accepted", "200", priority(1, weight=256), get())
case("PRIORITY with a dependency", "the frame is accepted", "200", priority(1, depends_on=3), get())
case("PRIORITY, exclusive", "the frame is accepted", "200", priority(1, depends_on=3, exclusive=True), get())
case("PRIORITY on an idle stream, then HEADERS of a lower one", "PRIORITY opens no stream and closes none below it",
     "200", priority(3), get(1))

case = Section(CASES, "generic/3.4", "9113 6.4")
case("RST_STREAM", "the stream ends, the connection goes on", "goes on", post(), reset())
case = Section(CASES, "generic/3.5", "9113 6.5")
case("SETTINGS", "the frame is applied and acknowledged", "goes on", settings((MAX_STREAMS, 100)),
     lambda peer: peer.until(lambda: peer.seen.count((SETTINGS, ACK)) == 2))
case = Section(CASES, "generic/3.7", "9113 6.7")
case("PING", "an acknowledgement with the same payload", "goes on", frame(PING, payload=b"opaque!!"),
     lambda peer: peer.until(lambda: b"opaque!!" in peer.pongs))
case = Section(CASES, "generic/3.8", "9113 6.8")
case("GOAWAY", "the frame is accepted; streams already open are completed", "200, closed",
     get() + goaway())
case = Section(CASES, "generic/3.9", "9113 6.9")
case("WINDOW_UPDATE of the connection", "the frame is accepted", "200", window_update(1 << 20), get())
case("WINDOW_UPDATE of a stream", "the frame is accepted", "200", post(), window_update(1 << 20, 1), data())
case = Section(CASES, "generic/3.10", "9113 6.10")
HALF = len(request_fields()) // 2
case("a CONTINUATION frame", "it continues the field block", "200", headers(request_fields()[:HALF], flags=END_STREAM),
     continuation(request_fields()[HALF:]))
case("several CONTINUATION frames", "any number of them may be sent", "200",
     headers(request_fields()[:20], flags=END_STREAM), continuation(request_fields()[20:40], 0),
     continuation(request_fields()[40:]))

case = Section(CASES, "generic/4", "9113 8.1")
case("a GET", "it is answered", "200", get())
case("a HEAD", "it is answered, without content", "405", get(method="HEAD"), note="Weir serves GET and POST")
case("a POST with content", "it is answered", "200", post(), data())
case("a POST with trailers", "a trailer section may follow the content", "200", post(), data(flags=0),
     headers(field_block([("x-checksum", "1")])))

# --- generic/5: every representation of RFC 7541 -------------------------------------------------------
# Strings in Huffman code are those of RFC 7541, appendix C: "custom-key", "custom-value", "no-cache".
KEY, VALUE = b"\x0acustom-key", b"\x0ccustom-value"
KEY_HUFFMAN, VALUE_HUFFMAN = bytes.fromhex("8825a849e95ba97d7f"), bytes.fromhex("8925a849e95bb8e8b4bf")
NO_CACHE, NO_CACHE_HUFFMAN = b"\x08no-cache", bytes.fromhex("86a8eb10649cbf")
CACHE_CONTROL = 24  # its index in the static table


def with_block(more):
    return headers(request_fields() + more)


case = Section(CASES, "generic/5", "7541 6.1")
case("an indexed field", "the field of the table", "200",
     headers(b"\x82\x87" + field_block([(":authority", "localhost"), (":path", REFS)])))
for first, form, bits in ((0x40, "with incremental indexing", 6), (0x00, "without indexing", 4),
                          (0x10, "never indexed", 4)):
    indexed = (bytes([first | CACHE_CONTROL]) if bits == 6 else bytes([first | 15, CACHE_CONTROL - 15]))
    section = {0x40: "7541 6.2.1", 0x00: "7541 6.2.2", 0x10: "7541 6.2.3"}[first]
    case(f"a literal {form}, indexed name", "accepted", "200", with_block(indexed + NO_CACHE), rfc=section)
    case(f"a literal {form}, indexed name, Huffman code", "accepted", "200", with_block(indexed + NO_CACHE_HUFFMAN),
         rfc=section)
    case(f"a literal {form}, new name", "accepted", "200", with_block(bytes([first]) + KEY + VALUE), rfc=section)
    case(f"a literal {form}, new name, Huffman code", "accepted", "200",
         with_block(bytes([first]) + KEY_HUFFMAN + VALUE_HUFFMAN), rfc=section)
case("a change of the dynamic table's size", "accepted at the start of a block", "200",
     headers(b"\x3f\x61" + request_fields()), rfc="7541 6.3")
case("several changes of its size", "accepted: the smallest, then the last", "200",
     headers(b"\x20\x3f\x61" + request_fields()), rfc="7541 4.2")

# --- hpack: what is no header block ----------------------------------------------------------------------

DECODING = "A decoding error in a field block MUST be treated as a connection error of type COMPRESSION_ERROR (9113 4.3)"


def hpack(key, rfc, *rows):
    section = Section(CASES, f"hpack/{key}", f"7541 {rfc}")
    for title, demand, block in rows:
        section(title, f"{demand}. {DECODING}", "GOAWAY COMPRESSION_ERROR", headers(block))


def huffman_field(value):
    return request_fields() + b"\x00\x01x" + bytes([0x80 | len(value)]) + value


hpack("2.3.3", "2.3.3",
      ("an index beyond both tables", "Indices greater than the sum of both tables MUST be treated as a decoding error",
       request_fields() + b"\xc6"),
      ("a literal whose name has such an index", "the same", request_fields() + b"\x7f\x07" + VALUE))
hpack("4.2", "4.2",
      ("a change of the table's size at the end of a block", "it MUST occur at the beginning of the first field block",
       request_fields() + b"\x20"))
hpack("5.2", "5.2",
      ("Huffman padding longer than 7 bits", "it MUST be treated as a decoding error",
       huffman_field(NO_CACHE_HUFFMAN[1:] + b"\xff")),
      ("Huffman padding of zeros", "padding that is not the EOS code's beginning MUST be treated as a decoding error",
       huffman_field(b"\x18")),
      ("the EOS symbol within a string", "it MUST be treated as a decoding error", huffman_field(b"\xff\xff\xff\xff")))
hpack("6.1", "6.1", ("index 0", "It MUST be treated as a decoding error if found", request_fields() + b"\x80"))
hpack("6.3", "6.3",
      ("a table larger than SETTINGS_HEADER_TABLE_SIZE", "it MUST be treated as a decoding error",
       b"\x3f\xe2\x1f" + request_fields()))  # 4097

# --- http2/7, 8: codes and messages -------------------------------------------------------------------------

case = Section(CASES, "http2/7", "9113 7")
UNKNOWN = "Unknown error codes MUST NOT trigger any special behavior"
case("GOAWAY with an unknown error code", UNKNOWN, "200, closed", get() + goaway(0xFF))
case("RST_STREAM with an unknown error code", UNKNOWN, "goes on", post(), reset(0xFF))

MALFORMED = "a malformed request MUST be treated as a stream error of type PROTOCOL_ERROR (9113 8.1.1)"
RESET = "RST_STREAM PROTOCOL_ERROR"

case = Section(CASES, "http2/8.1", "9113 8.1")
case("a second HEADERS frame without END_STREAM", "a trailer section ends the stream; " + MALFORMED, RESET,
     post(), headers(field_block([("x-checksum", "1")]), flags=END_HEADERS), data())

case = Section(CASES, "http2/8.1.2", "9113 8.2.1")
case("a field name in upper case", "A field name MUST NOT contain characters in the range 0x41-0x5a; " + MALFORMED,
     RESET, headers(request_fields(("X-TEST", "1"))))

case = Section(CASES, "http2/8.1.2.1", "9113 8.3")
case("an unknown pseudo-header field", "Endpoints MUST treat a request that contains undefined or invalid pseudo-header "
     "fields as malformed; " + MALFORMED, RESET, headers(request_fields((":test", "1"))))
case("a pseudo-header field of answers", "those for responses MUST NOT appear in requests; " + MALFORMED, RESET,
     headers(request_fields((":status", "200"))))
case("a pseudo-header field as a trailer", "Pseudo-header fields MUST NOT appear in a trailer section; " + MALFORMED,
     RESET, post(), data(flags=0), headers(field_block([(":method", "POST")])))
case("a pseudo-header field behind a regular one", "All pseudo-header fields MUST appear in a field block before all "
     "regular field lines; " + MALFORMED, RESET,
     headers(request_fields(("x-test", "1"), (":path", REFS), without=(":path",))))

case = Section(CASES, "http2/8.1.2.2", "9113 8.2.2")
case("the Connection field", "Any message containing connection-specific header fields MUST be treated as malformed; " +
     MALFORMED, RESET, headers(request_fields(("connection", "keep-alive"))))
case("TE with another value than \"trailers\"", "it MUST NOT contain any other value; " + MALFORMED, RESET,
     headers(request_fields(("te", "trailers, deflate"))))

case = Section(CASES, "http2/8.1.2.3", "9113 8.3.1")
case("an empty :path", ":path MUST NOT be empty for http or https URIs; " + MALFORMED, RESET,
     headers(request_fields((":path", ""), without=(":path",))))
for name in (":method", ":scheme", ":path"):
    case(f"no {name}", "All HTTP/2 requests MUST include exactly one valid value for it; " + MALFORMED, RESET,
         headers(request_fields(without=(name,))))
for name in (":method", ":scheme", ":path"):
    value = {":method": "GET", ":scheme": "https", ":path": REFS}[name]
    case(f"{name} twice", "The same pseudo-header field name MUST NOT appear more than once; " + MALFORMED, RESET,
         headers(request_fields((name, value))))

case = Section(CASES, "http2/8.1.2.6", "9113 8.1.1")
case("content-length that differs from the DATA frame", "A request whose content-length does not equal the sum of the "
     "DATA frame payload lengths is malformed; " + MALFORMED, RESET, post(1, ("content-length", "1")), data())
case("content-length that differs from the DATA frames' sum", "the same", RESET,
     post(1, ("content-length", "3")), data(b"00", 0), data(b"00"))

case = Section(CASES, "http2/8.2", "9113 8.4")
case("PUSH_PROMISE", "A client cannot push; receipt of it MUST be treated as a connection error of type PROTOCOL_ERROR",
     "GOAWAY PROTOCOL_ERROR", post(), frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\3" + request_fields()))
