"""Goal: floods on either protocol cost little, end with a clear word, and others are served meanwhile. Method: each
flood beside a well-behaved client, twice; then memory, descriptors and processes are looked at from outside."""
import functools
import os
import re
import resource
import socket
import time
import unittest

import raw_client as raw
from abuse_case import AbuseTestCase, REFS, V2, body_request, v2_fetch
from hostile_bytes import HALF_A_HELLO, HTTP2_FLOODS
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

    def http2(self, flood):
        with Http2Connection(self.weir, settings=flood.settings) as h2:
            self.expect_calm(h2.flood(flood.frames()), *flood.errors)

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
                    plain.sendall(HALF_A_HELLO)
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

    OTHER_FLOODS = (nonsense_frames, half_open_handshakes, broken_handshakes, abandoned_requests)

    def test_others_are_served_through_every_flood_and_nothing_grows(self):
        pid = raw.serving_pid(self.weir)
        measured = []
        floods = [(flood.name, functools.partial(self.http2, flood)) for flood in HTTP2_FLOODS]
        floods += [(flood.__name__, functools.partial(flood, self)) for flood in self.OTHER_FLOODS]
        for turn in range(2):
            for name, flood in floods:
                with self.subTest(name, turn=turn):
                    with Bystander(self.weir, REFS) as other:
                        flood()
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
