"""Goal: Weir speaks HTTP/2 as RFC 9113 and RFC 7541 demand, also to peers who do not. Method: a case of our own for
each of the public list of h2spec, by its sections, against a running server over TLS; all at once.

`python3 http2_conformance_test.py --write` writes docs/http2-conformance.md, which the test compares."""
import concurrent.futures
import sys
import unittest

import http2_frame_cases
import http2_message_cases
from abuse_case import AbuseTestCase
from weir_server import ROOT

CASES = http2_message_cases.CASES + http2_frame_cases.CASES
PAGE = ROOT / "docs/http2-conformance.md"
PARALLEL = 16


def page():
    rows = "\n".join(f"| {case.key} | RFC {case.rfc} | {case.title} | {case.expected} | {case.note} |" for case in CASES)
    return f"""# HTTP/2 conformance

Cases of our own, modelled on the {sum(not case.key.startswith("weir") for case in CASES)} of the public list of h2spec and numbered as there. Each runs
on io_uring and on epoll against a running server (`tests/e2e/http2_conformance_test.py`, which holds what the RFC
demands in each; this page is written by it and compared). "RST_STREAM X": a stream error, and the connection goes on; "GOAWAY X": a connection error, and
the connection is closed; "200": a whole answer; "goes on": the next frames are served.

| case | section | what the client does | outcome | why another outcome than the list's is right |
|---|---|---|---|---|
{rows}
"""


class Http2ConformanceTest(AbuseTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            cls.outcomes = {case.key: pool.submit(case.run, cls.weir) for case in CASES}


    def test_the_page_of_cases_is_true(self):
        self.assertEqual(PAGE.read_text(), page(), "write it anew: http2_conformance_test.py --write")


def one_test(case):
    def test(self):
        self.assertEqual(self.outcomes[case.key].result(), case.expected, f"{case.title}: {case.demand}")
    test.__doc__ = f"{case.key}: {case.title}"
    return test


for one in CASES:
    setattr(Http2ConformanceTest, "test_" + one.key.replace("/", "_").replace(".", "_"), one_test(one))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page())
    else:
        unittest.main()
