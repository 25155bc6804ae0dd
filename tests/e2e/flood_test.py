"""Goal: floods on either protocol cost little, end with a clear word, and others are served meanwhile. Method: each
flood beside a well-behaved client, twice; then memory, descriptors and processes are looked at from outside."""
import os
import re
import resource
import socket
import struct
import time
import unittest

import raw_client as raw
from abuse_case import (AbuseTestCase, REFS, UPLOAD, V2, body_request, request, v2_fetch)
from raw_client import Bystander, Connection, Http2Connection, frame


class FloodTest(AbuseTestCase):
    """Each flood beside a client who must not notice; then all once more, and nothing may have grown."""
    # The allocator keeps what floods needed at a time: 31 MiB more in the second round, none after the fifth.
    RSS_GROWTH_BYTES_MAX = 64 << 20
    # A flood may take a turn of the loop, not more; this machine and sanitizers decide the rest.
    SLOWEST_SECONDS_MAX = 5

    def expect_calm(self, error, *others):
        # Closed while still flooding: the reset can overtake the GOAWAY.
        self.assertIn(error, (raw.ENHANCE_YOUR_CALM, None, *others))

    def rapid_reset(self):
        with Http2Connection(self.weir) as h2:
            block = raw.request_block(REFS)
            self.expect_calm(h2.flood(
                frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, stream, block) +
                frame(raw.RST_STREAM, stream=stream, payload=struct.pack(">I", 8))
                for stream in range(1, 20001, 2)))

    def reset_by_our_own_fault(self):
        """The server is made to reset: a window update of zero for each stream."""
        with Http2Connection(self.weir) as h2:
            block = raw.request_block(REFS)
            self.expect_calm(h2.flood(
                frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, stream, block) +
                frame(raw.WINDOW_UPDATE, stream=stream, payload=struct.pack(">I", 0))
                for stream in range(1, 20001, 2)), raw.PROTOCOL_ERROR)

    def continuation_flood(self):
        with Http2Connection(self.weir) as h2:
            def frames():
                yield frame(raw.HEADERS, raw.END_STREAM, 1, raw.request_block(REFS))
                for number in range(2000):
                    yield frame(raw.CONTINUATION, 0, 1, raw.field_block([(f"x-{number}", "y" * 4000)]))
            self.expect_calm(h2.flood(frames()))

    def empty_continuations(self):
        with Http2Connection(self.weir) as h2:
            self.expect_calm(h2.flood([frame(raw.HEADERS, raw.END_STREAM, 1, raw.request_block(REFS)),
                                       *[frame(raw.CONTINUATION, 0, 1)] * 20000]))

    def ping_flood(self):
        with Http2Connection(self.weir) as h2:
            self.expect_calm(h2.flood([frame(raw.PING, payload=bytes(8)) * 10] * 2000))

    def settings_flood(self):
        with Http2Connection(self.weir) as h2:
            self.expect_calm(h2.flood([frame(raw.SETTINGS, payload=struct.pack(">HI", 4, 65535)) * 10] * 2000))

    def empty_data(self):
        with Http2Connection(self.weir) as h2:
            head = raw.request_block(UPLOAD, "POST", ("content-type", "application/x-git-upload-pack-request"))
            self.expect_calm(h2.flood([frame(raw.HEADERS, raw.END_HEADERS, 1, head),
                                       *[frame(raw.DATA, 0, 1) * 10] * 2000]))

    def priority_flood(self):
        with Http2Connection(self.weir) as h2:
            self.expect_calm(h2.flood([frame(raw.PRIORITY, 0, 1, struct.pack(">IB", 0, 1)) * 10] * 2000))

    def window_dribble(self):
        settings = struct.pack(">HI", 4, 0)
        with Http2Connection(self.weir, settings=settings) as h2:
            def frames():
                for stream in range(1, 21, 2):
                    yield frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, stream, raw.request_block(REFS))
                for turn in range(20000):
                    yield frame(raw.WINDOW_UPDATE, 0, turn % 10 * 2 + 1, struct.pack(">I", 1))
            self.expect_calm(h2.flood(frames()))

    def header_bomb(self):
        """A field put into the table once and named ten thousand times."""
        with Http2Connection(self.weir) as h2:
            table = b"\x40" + raw.hpack_length(1) + b"x" + raw.hpack_length(3500) + b"y" * 3500
            block = raw.request_block(REFS) + table + b"\xbe" * 10000
            self.expect_calm(h2.flood(frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, stream, block)
                                      for stream in range(1, 401, 2)))

    def streams_beyond_the_limit(self):
        head = raw.request_block(UPLOAD, "POST", ("content-type", "application/x-git-upload-pack-request"))
        with Http2Connection(self.weir) as h2:
            self.expect_calm(h2.flood(frame(raw.HEADERS, raw.END_HEADERS, stream, head)
                                      for stream in range(1, 2001, 2)))

    def nonsense_frames(self):
        for data in (frame(raw.DATA, 0, 1, b"x"), frame(raw.PUSH_PROMISE, 4, 1, bytes(8)),
                     frame(raw.HEADERS, 5, 2, raw.request_block(REFS)), b"\xff" * 400,
                     frame(raw.HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff"), frame(raw.SETTINGS, payload=b"abc"),
                     frame(raw.PING, payload=b"abc"), frame(raw.GOAWAY, payload=b""), frame(raw.CONTINUATION, 4, 1)):
            with Http2Connection(self.weir) as h2:
                h2.send(data)
                self.assertNotEqual(h2.goaway_error(), 0, data)

    def half_open_handshakes(self):
        """More than all loops together have room for (1024 each)."""
        begun = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
        try:
            for number in range(2800):
                plain = socket.create_connection(("127.0.0.1", self.weir.port), timeout=10)
                begun.append(plain)
                if number % 8 == 0:
                    time.sleep(0.002)  # a burst beyond what waits for the processor is refused
                if number % 8:  # the others say nothing at all
                    plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            with Bystander(self.weir, REFS) as other:
                pass
            self.assertEqual(other.failures, [])
        finally:
            for plain in begun:
                plain.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def broken_handshakes(self):
        for number in range(200):
            with socket.create_connection(("127.0.0.1", self.weir.port), timeout=10) as plain:
                plain.sendall(b"\x16\x03\x01\x00\x40" + os.urandom(64) if number % 2 else os.urandom(64))

    def abandoned_requests(self):
        for number in range(60):
            with Connection(self.weir) as connection:
                body = v2_fetch(f"want {self.main}\n", "done\n")
                connection.send(body_request(V2, f"Content-Length: {len(body)}",
                                             body=body[:-number % 7 or len(body)]))

    FLOODS = (rapid_reset, reset_by_our_own_fault, continuation_flood, empty_continuations, ping_flood, settings_flood,
              empty_data, priority_flood, window_dribble, header_bomb, streams_beyond_the_limit, nonsense_frames,
              half_open_handshakes, broken_handshakes, abandoned_requests)

    def test_others_are_served_through_every_flood_and_nothing_grows(self):
        pid = raw.serving_pid(self.weir)
        measured = []
        for turn in range(2):
            for flood in self.FLOODS:
                with self.subTest(flood.__name__, turn=turn):
                    with Bystander(self.weir, REFS) as other:
                        flood(self)
                    self.assertEqual(other.failures, [])
                    self.assertLess(other.slowest, self.SLOWEST_SECONDS_MAX)
            self.no_child_is_left()
            raw.wait_until(lambda: self.open_connections() == 0, 15)
            usual = measured[0][1] if measured else 0
            raw.wait_until(lambda: raw.descriptor_count(pid) <= usual, 2)
            measured.append((raw.rss_bytes(pid), raw.descriptor_count(pid)))
        self.assertEqual(raw.serving_pid(self.weir), pid, "the serving process was replaced")
        self.assertLessEqual(measured[1][1], measured[0][1], "descriptors were left open")
        self.assertLess(measured[1][0] - measured[0][0], self.RSS_GROWTH_BYTES_MAX)

    def open_connections(self):
        found = re.search(r"^weir_connections_open(?:{[^}]*})? (\d+)", self.weir.admin("/metrics")[1], re.M)
        return int(found.group(1))


if __name__ == "__main__":
    unittest.main()
