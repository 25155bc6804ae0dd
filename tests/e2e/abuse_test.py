"""Goal: whoever attacks the server is told so in the right words, gets nothing that is not his, costs no more
than a bound, and other clients do not feel it. Method: raw bytes over TLS against a real server (raw_client.py),
with a well-behaved client beside every flood; processes, memory, descriptors and logs are looked at from outside.

Time limits of the phases are tested with a manual clock in tests/http and tests/io; here nothing waits them out."""
import base64
import gzip
import os
import re
import socket
import time
import unittest

import raw_client as raw
from abuse_case import (AbuseTestCase, PUSH_BYTES_MAX, REFS, UPLOAD, UPLOAD_TYPE, ZERO, body_request, command,
                        delta_bomb, empty_pack, pkt, request, statuses_in, v0_fetch, v2_fetch)
from hostile_bytes import gzip_bomb
from raw_client import Bystander, Connection, status_of
from weir_server import commit, git, make_work_tree

CHUNKED = "Transfer-Encoding: chunked"
SMUGGLED = f"GET {REFS} HTTP/1.1\r\nHost: localhost\r\nX-Smuggled: 1\r\n\r\n".encode()

SMUGGLING = [
    ("length and chunked", body_request("Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"), 400),
    ("chunked and length", body_request(CHUNKED, "Content-Length: 5", body=b"0\r\n\r\n"), 400),
    ("two lengths", body_request("Content-Length: 4", "Content-Length: 5", body=b"00000"), 400),
    ("one length twice", body_request("Content-Length: 4", "Content-Length: 4", body=b"0000"), 400),
    ("list of lengths", body_request("Content-Length: 4, 4", body=b"0000"), 400),
    ("signed length", body_request("Content-Length: +4", body=b"0000"), 400),
    ("negative length", body_request("Content-Length: -4", body=b"0000"), 400),
    ("hexadecimal length", body_request("Content-Length: 0x4", body=b"0000"), 400),
    ("length with a space", body_request("Content-Length: 4 0", body=b"0000"), 400),
    ("empty length", body_request("Content-Length:", body=b"0000"), 400),
    ("endless length", body_request("Content-Length: " + "9" * 30, body=b"0000"), 400),
    ("chunked twice", body_request("Transfer-Encoding: chunked, chunked"), 400),
    ("chunked not last", body_request("Transfer-Encoding: chunked, gzip"), 400),
    ("coding before chunked", body_request("Transfer-Encoding: gzip, chunked"), 501),
    ("identity", body_request("Transfer-Encoding: identity"), 400),
    ("chunked and nothing", body_request("Transfer-Encoding: chunked,"), 400),
    ("nearly chunked", body_request("Transfer-Encoding: xchunked"), 400),
    ("quoted chunked", body_request('Transfer-Encoding: "chunked"'), 400),
    ("vertical tab chunked", body_request("Transfer-Encoding: \x0bchunked"), 400),
    ("two fields of codings", body_request(CHUNKED, "Transfer-Encoding: identity"), 400),
    ("chunked in HTTP/1.0", request(UPLOAD_TYPE, CHUNKED, line=f"POST {UPLOAD} HTTP/1.0"), 400),
    ("line feed alone", request().replace(b"\r\n", b"\n"), 400),
    ("line feed ends a field", request("A: b\nX: y"), 400),
    ("carriage return in a value", request("A: b\rX: y"), 400),
    ("folded field", request("A: b", " c"), 400),
    ("space before the colon", body_request("Content-Length : 4", body=b"0000"), 400),
    ("space before the name", request(" Content-Length: 4"), 400),
    ("no colon", request("Content-Length 4"), 400),
    ("no name", request(": 4"), 400),
    ("NUL in a value", request("A: b\0c"), 400),
    ("NUL in a name", request("A\0: b"), 400),
    ("control byte in the target", request(line="GET /a\x01b HTTP/1.1"), 400),
    ("no Host", request(host=False), 400),
    ("empty Host", request("Host:", host=False), 400),
    ("two Hosts", request("Host: localhost"), 400),
    ("Host with a path", request("Host: localhost/x", host=False), 400),
    ("other authority", request(line=f"GET https://elsewhere{REFS} HTTP/1.1"), 400),
    ("no path and no URL", request(line="GET acme/site.git HTTP/1.1"), 400),
    ("HTTP/0.9", b"GET /\r\n\r\n", 400),
    ("HTTP/2 without ALPN", raw.PREFACE, 505),
    ("HTTP/1.2", request(line=f"GET {REFS} HTTP/1.2"), 505),
    ("lower-case version", request(line=f"GET {REFS} http/1.1"), 400),
    ("two spaces", request(line=f"GET  {REFS} HTTP/1.1"), 400),
    ("CONNECT", request(line="CONNECT localhost:22 HTTP/1.1"), 501),
    ("TLS in TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n", 400),
    ("long request line", request(line="GET /" + "a" * 9000 + " HTTP/1.1"), 414),
    ("endless request line", b"GET /" + b"a" * 100_000, 414),
    ("long field", request("A: " + "b" * 40_000), 431),
    ("many fields", request(*["A: b"] * 200), 431),
    ("long field of a Mercurial command", request("A: " + "b" * 40_000, line="GET /x?cmd=known HTTP/1.1"), 431),
    ("endless fields", request(*[f"A{i}: " + "b" * 100 for i in range(5000)]), 431),
]

CHUNKS = [
    ("no size", b"\r\n0000\r\n0\r\n\r\n"),
    ("no digit", b"zz\r\n0000\r\n0\r\n\r\n"),
    ("negative", b"-4\r\n0000\r\n0\r\n\r\n"),
    ("prefix", b"0x4\r\n0000\r\n0\r\n\r\n"),
    ("space before", b" 4\r\n0000\r\n0\r\n\r\n"),
    ("too many digits", b"0000000000000004\r\n0000\r\n0\r\n\r\n"),
    ("overflow", b"fffffffffffffffff\r\n0000\r\n0\r\n\r\n"),
    ("line feed alone", b"4\n0000\n0\n\n"),
    ("carriage return alone", b"4\r0000\r0\r\r"),
    ("data longer than said", b"4\r\n00000\r\n0\r\n\r\n"),
    ("data shorter than said", b"6\r\n0000\r\n0\r\n\r\n"),
    ("long extension", b"4;" + b"a" * 1000 + b"\r\n0000\r\n0\r\n\r\n"),
    ("control byte in extension", b"4;a=\x01\r\n0000\r\n0\r\n\r\n"),
    ("long trailers", b"4\r\n0000\r\n0\r\n" + b"A: b\r\n" * 2000 + b"\r\n"),
    ("malformed trailer", b"4\r\n0000\r\n0\r\nno colon\r\n\r\n"),
    ("length in the trailer, then a request", b"4\r\n0000\r\n0\r\nContent-Length: 4 \n\r\n"),
]


class HttpAbuseTest(AbuseTestCase):
    def test_every_row_of_the_smuggling_table_is_refused_and_the_connection_closed(self):
        for name, data, status in SMUGGLING:
            with self.subTest(name), Connection(self.weir) as connection:
                connection.send(data + SMUGGLED)
                answer = connection.read_to_end()
                self.assertEqual(statuses_in(answer), [status], answer[:300])
                self.assertIn(b"connection: close", answer.lower())
        self.still_serves()

    def test_malformed_chunks_are_400_and_nothing_behind_them_is_a_request(self):
        for name, body in CHUNKS:
            with self.subTest(name), Connection(self.weir) as connection:
                connection.send(body_request(CHUNKED, body=body) + SMUGGLED)
                answer = connection.read_to_end()
                self.assertEqual(statuses_in(answer), [400], answer[:300])
        self.no_child_is_left()

    def test_body_shorter_than_its_length_is_never_answered_well(self):
        for ended in (False, True):
            with self.subTest(ended=ended), Connection(self.weir) as connection:
                connection.send(body_request("Content-Length: 500", body=v2_fetch("done")))
                connection.end_output() if ended else connection.close()
                if ended:
                    self.assertNotEqual(status_of(connection.read_to_end()), 200)
        self.no_child_is_left()

    def test_body_longer_than_its_length_is_judged_as_the_next_request(self):
        with Connection(self.weir) as connection:
            connection.send(body_request("Content-Length: 4", body=b"0000\x00\x01garbage\r\n\r\n") + SMUGGLED)
            self.assertEqual(statuses_in(connection.read_to_end()), [200, 400])

    def test_body_of_a_refused_request_is_never_a_request(self):
        with Connection(self.weir) as connection:
            connection.send(request(UPLOAD_TYPE, f"Content-Length: {len(SMUGGLED)}",
                                    line="POST /acme/nothing.git/git-upload-pack HTTP/1.1", body=SMUGGLED))
            connection.send(request("Connection: close"))
            self.assertEqual(statuses_in(connection.read_to_end()), [401, 200])

    def test_http_1_0_is_answered_and_closed(self):
        with Connection(self.weir) as connection:
            connection.send(request(line=f"GET {REFS} HTTP/1.0", host=False) + SMUGGLED)
            answer = connection.read_to_end()
        self.assertEqual(statuses_in(answer), [200])

    def test_plain_http_on_the_tls_port_is_400_and_closed(self):
        with socket.create_connection(("127.0.0.1", self.weir.port), timeout=10) as plain:
            plain.sendall(request())
            answer = b""
            while chunk := plain.recv(65536):
                answer += chunk
        self.assertEqual(status_of(answer), 400)
        self.assertIn(b"https", answer)

    def test_upgrade_and_expectations_change_nothing(self):
        with Connection(self.weir) as connection:
            connection.send(request("Upgrade: h2c, websocket", "Connection: Upgrade, close", "HTTP2-Settings: AAA",
                                    "Expect: 200-ok"))
            self.assertEqual(status_of(connection.read_to_end()), 200)

    def test_damaged_gzip_is_400_on_both_services(self):
        good = gzip.compress(b"0000")
        for name, body in (("cut short", good[:-5]), ("wrong sum", good[:-8] + b"\1\2\3\4" + good[-4:]),
                           ("no gzip", b"0000"), ("bytes behind", good + b"x"), ("second member", good + good)):
            for send in (self.upload, self.receive):
                with self.subTest(name, service=send.__name__):
                    status, _, answer = send(body, "Content-Encoding: gzip")
                    self.assertEqual(status, 400, answer[:300])
                    self.assertIn(b"(request ", answer)
        self.assertEqual(self.upload(good, "Content-Encoding: br")[0], 415)

    def test_gzip_bombs_are_refused_in_words_and_take_no_memory(self):
        """A request that is too large is told so in git's own form, which git shows; a 413 it would not."""
        push = command(ZERO, "56" * 20, "refs/heads/bomb") + b"0000" + empty_pack()[:12]
        pid = raw.serving_pid(self.weir)
        before = raw.rss_bytes(pid)
        with Bystander(self.weir, REFS) as other:
            for body, send, text in (  # git itself may find fault with such a pack first
                    (gzip_bomb(v2_fetch(f"want {self.main}\n"), 300), self.upload, b"ERR weir: the request is larger"),
                    (gzip_bomb(push, 300), self.receive, rb"larger than the|unpack (?!ok)"),
                    (gzip_bomb(b"", 300), self.receive, b"ERR weir: bad pkt-line length")):
                status, _, answer = send(body, "Content-Encoding: gzip")
                self.assertEqual(status, 200)
                self.assertRegex(answer, text)
        self.assertEqual(other.failures, [])
        self.assertLess(raw.rss_bytes(pid) - before, 64 << 20)
        self.no_child_is_left()

    def test_slow_heads_and_bodies_hold_nothing_that_others_need(self):
        slow = [Connection(self.weir) for _ in range(60)]
        try:
            with Bystander(self.weir, REFS) as other:
                for turn in range(20):
                    for number, connection in enumerate(slow):
                        if turn == 0:
                            data = (body_request("Content-Length: 100000") if number % 2 else
                                    f"GET {REFS} HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".encode())
                        else:
                            data = b"a"
                        self.assertTrue(connection.send(data))
                    time.sleep(0.05)
            self.assertEqual(other.failures, [])
        finally:
            for connection in slow:
                connection.close()
        self.no_child_is_left()


class PathAbuseTest(AbuseTestCase):
    def test_no_path_leads_out_of_the_root(self):
        outside = self.weir.folder / "outside"
        git("init", "-q", "--bare", outside / "loot.git")
        tenant = self.weir.root / "acme"
        (tenant / "absolute.git").symlink_to(outside / "loot.git")
        (tenant / "relative.git").symlink_to("../../outside/loot.git")
        (tenant / "folder").symlink_to("../../outside")
        (tenant / "pointer").mkdir()
        (tenant / "pointer/.git").write_text(f"gitdir: {outside}/loot.git\n")
        worktree = tenant / "worktree.git"
        worktree.mkdir()
        (worktree / "HEAD").write_text("ref: refs/heads/main\n")
        (worktree / "commondir").write_text(f"{outside}/loot.git\n")
        (worktree / "gitdir").write_text("/nowhere\n")
        inner = self.weir.make_repository("acme/inner.git")
        (inner / "objects").rename(outside / "objects")
        (inner / "objects").symlink_to(outside / "objects")
        paths = ["acme/absolute.git", "acme/relative.git", "acme/folder/loot.git", "acme/pointer",
                 "acme/worktree.git", "acme/inner.git", "acme/../../outside/loot.git",
                 "acme/%2e%2e/%2e%2e/outside/loot.git", "acme/..%2f..%2foutside%2floot.git",
                 "acme/%252e%252e/%252e%252e/outside/loot.git", "acme/.%2e/.%2e/outside/loot.git",
                 "acme/%c0%ae%c0%ae/%c0%ae%c0%ae/outside/loot.git", "acme/site.git/../../../outside/loot.git",
                 "acme/%2fetc/x.git", f"acme/%2f{outside}/loot.git", "../outside/loot.git",
                 "acme/site.git%00.git", "acme/site.git/objects", "acme/site.git/refs/heads", "acme/./../x.git",
                 "acme/site.git;/x", "acme/%0d%0aX-Injected:%201/x.git", ".git/x", "acme/~root/x.git"]
        for path in paths:
            for service in ("git-upload-pack", "git-receive-pack"):
                for authorization in ((), (f"Authorization: Bearer {self.token}",)):
                    with self.subTest(path=path, service=service), Connection(self.weir) as connection:
                        connection.send(request("Connection: close", *authorization,
                                                line=f"GET /{path}/info/refs?service={service} HTTP/1.1"))
                        answer = connection.read_to_end()
                        self.assertIn(status_of(answer), (400, 401, 404), answer[:200])
                        self.assertNotIn(b"x-injected", answer.lower().partition(b"\r\n\r\n")[0])
        self.still_serves()


LENGTHS = [b"0003", b"000", b"0", b"000z", b"zzzz", b"-001", b"+005", b"0x10", b"    ", b"\0\0\0\0", b"\xff\xff\xff\xff",
           b"fff1", b"ffff", b"FFFF", b"0009", b"0100want", b"0001", b"0002", b"00000", b"0004", b"0005a"]


class GitAbuseTest(AbuseTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        served = cls.served
        pool = cls.weir.folder / "pool.git"
        git("init", "-q", "--bare", pool)
        cls.alternate_only = cls.make_commit(pool, "only in the alternate")
        (served / "objects/info/alternates").write_text(f"{pool}/objects\n")
        cls.hidden = cls.make_commit(served, "hidden", "refs/hidden/secret")
        cls.upload_hidden = cls.make_commit(served, "hidden from fetches", "refs/internal/x")
        cls.unreachable = cls.make_commit(served, "unreachable")
        cls.deleted = cls.make_commit(served, "deleted", "refs/heads/deleted")
        git("update-ref", "-d", "refs/heads/deleted", cwd=served)
        git("config", "transfer.hideRefs", "refs/hidden", cwd=served)
        git("config", "uploadpack.hideRefs", "refs/internal", cwd=served)
        cls.secret_tree = git("rev-parse", f"{cls.hidden}^{{tree}}", cwd=served).out.strip()
        cls.secret_blob = git("rev-parse", f"{cls.hidden}:file", cwd=served).out.strip()
        cls.blob = git("rev-parse", "main:side.txt", cwd=served).out.strip()
        cls.tree = git("rev-parse", "main^{tree}", cwd=served).out.strip()
        cls.unfiltered = cls.weir.make_repository("acme/unfiltered.git")
        git("push", "-q", "--mirror", cls.unfiltered, cwd=cls.work)
        git("config", "uploadpack.allowFilter", "false", cwd=cls.unfiltered)

    @staticmethod
    def make_commit(repository, text, ref=None):
        blob = git("hash-object", "-w", "--stdin", cwd=repository, input=text.encode()).out.strip()
        tree = git("mktree", cwd=repository, input=f"100644 blob {blob}\tfile\n".encode()).out.strip()
        made = git("commit-tree", "-m", text, tree, cwd=repository).out.strip()
        if ref:
            git("update-ref", ref, made, cwd=repository)
        return made

    def fetch_of(self, version, want, path=UPLOAD):
        body = v2_fetch(f"want {want}\n", "done\n") if version == 2 else v0_fetch(want)
        return self.upload(body, version=version, path=path)

    def test_objects_that_no_visible_ref_reaches_are_refused_by_name(self):
        wants = {"unknown": "12" * 20, "hidden": self.hidden, "hidden from fetches": self.upload_hidden,
                 "unreachable": self.unreachable, "deleted": self.deleted, "alternate": self.alternate_only,
                 "hidden tree": self.secret_tree, "hidden blob": self.secret_blob, "null": ZERO}
        for name, want in wants.items():
            for version in (0, 1, 2):
                for allowed_too in (False, True):
                    with self.subTest(name, version=version, beside_an_allowed_one=allowed_too):
                        extra = [f"want {self.main}\n"] if allowed_too else []
                        body = (v2_fetch(*extra, f"want {want}\n", "done\n") if version == 2
                                else v0_fetch(self.main, f"want {want}\n") if allowed_too else v0_fetch(want))
                        status, _, answer = self.upload(
                            body, *([f"Git-Protocol: version={version}"] if version else []))
                        self.assertEqual(status, 200)
                        self.assertIn(b"ERR ", answer[4:8])
                        self.assertIn(f"not our ref {want}".encode(), answer)
                        self.assertNotIn(b"PACK", answer)
        self.no_child_is_left()

    def test_blobs_and_trees_are_given_only_where_partial_clone_is_allowed(self):
        for version in (0, 2):
            for want in (self.blob, self.tree):
                with self.subTest(version=version, want=want):
                    self.assertIn(b"PACK", self.fetch_of(version, want)[2])
                    answer = self.fetch_of(version, want, path="/acme/unfiltered.git/git-upload-pack")[2]
                    self.assertIn(f"not our ref {want}".encode(), answer)
            body = (v2_fetch(f"want {self.main}\n", "filter blob:none\n", "done\n") if version == 2 else
                    v0_fetch(self.main, "filter blob:none\n", capabilities="side-band-64k filter"))
            answer = self.upload(body, version=version, path="/acme/unfiltered.git/git-upload-pack")[2]
            self.assertIn(b"ERR ", answer[4:8])

    def test_hidden_refs_are_in_no_advertisement(self):
        for service in ("git-upload-pack", "git-receive-pack"):
            for version in (0, 1, 2):
                got = self.weir.curl(f"/acme/site.git/info/refs?service={service}", "-H",
                                     f"Git-Protocol: version={version}", "-u", f"x:{self.token}").stdout
                self.assertNotIn(b"refs/hidden", got)
                self.assertNotIn(self.hidden.encode(), got)
                if service == "git-upload-pack":
                    self.assertNotIn(b"refs/internal", got)
        for prefix in ("", "refs/hidden", "refs/hidden/secret", "refs/internal/", "refs/"):
            body = (pkt("command=ls-refs") + pkt("object-format=sha1") + b"0001" + pkt("peel") + pkt("symrefs") +
                    (pkt(f"ref-prefix {prefix}") if prefix else b"") + b"0000")
            status, _, answer = self.upload(body, version=2)
            self.assertEqual(status, 200)
            for secret in (b"refs/hidden", b"refs/internal", self.hidden.encode()):
                self.assertNotIn(secret, answer)

    def test_object_info_tells_nothing_of_hidden_objects(self):
        for oid in (self.secret_blob, self.alternate_only, "12" * 20):
            body = (pkt("command=object-info") + pkt("object-format=sha1") + b"0001" + pkt("size") +
                    pkt(f"oid {oid}") + b"0000")
            answer = self.upload(body, version=2)[2]
            self.assertIn(b"ERR ", answer[4:8], answer)

    def test_pushes_to_hidden_refs_are_refused(self):
        for ref in ("refs/hidden/secret", "refs/hidden/new"):
            result = self.weir.git("push", self.weir.url("acme/site.git", self.token), f"+main:{ref}",
                                   cwd=self.work, check=False)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("hidden ref", result.err)
        self.assertEqual(git("rev-parse", "refs/hidden/secret", cwd=self.served).out.strip(), self.hidden)

    def test_pkt_lines_of_every_wrong_length_get_a_clear_refusal(self):
        oid = self.main.encode()
        whole_v2, whole_v0 = v2_fetch(f"want {self.main}\n", "done\n"), v0_fetch(self.main)
        whole_push = command(ZERO, self.main, "refs/heads/x") + b"0000"
        for length in LENGTHS:
            bodies = [(self.upload, 0, length + b"want " + oid), (self.upload, 2, length + b"command=fetch"),
                      (self.upload, 0, whole_v0[:-9] + length), (self.upload, 2, whole_v2[:-4] + length),
                      (self.receive, 0, length + f"{ZERO} {self.main} refs/heads/x".encode()),
                      (self.receive, 0, whole_push[:-4] + length)]
            for send, version, body in bodies:
                with self.subTest(length=length, service=send.__name__, version=version, body=body[:60]):
                    status, _, answer = send(body, version=2) if version else send(body)
                    self.assertIn(status, (200, 400), answer)
                    if status == 200 and body[:4] != b"0000":
                        self.assertRegex(answer, rb"ERR weir: |unpack weir: |unpack eof before pack")
                    self.assertNotIn(b"PACK", answer)
        self.no_child_is_left()
        self.assertEqual(git("for-each-ref", "refs/heads/x", cwd=self.served).out, "")
        self.still_serves()

    def test_malformed_push_commands_change_nothing_and_are_told_why(self):
        before = git("for-each-ref", cwd=self.served).out
        new = self.main
        rows = [command(ZERO, new, ref) for ref in
                ("refs/heads/../../config", "refs/heads/a..b", "refs/heads/.lock", "refs/heads/x.lock", "HEAD",
                 "config", "../x", "/etc/passwd", "refs/heads/a b", "refs/heads/a\x7f", "refs/heads/a\\b",
                 "refs/heads/" + "a" * 5000, "refs/heads//a", "refs/heads/a/", "refs/-x/../y", "objects/info/x")]
        rows += [command("x" * 40, new, "refs/heads/x"), command(ZERO[:-1], new, "refs/heads/x"),
                 pkt(f"{ZERO} {new}"), pkt(f"{ZERO} {new} "), pkt(b"\0 report-status"), pkt("push-cert\0 x"),
                 command(ZERO, new, "refs/heads/x", "report-status object-format=sha256"),
                 command(ZERO, new, "refs/heads/x") + pkt(f"{ZERO} {new} refs/heads/y\0 atomic"),
                 pkt("shallow nonsense"), pkt("shallow " + "1" * 40), pkt("a" * 60000)]
        for body in rows:
            with self.subTest(body=body[:120]):
                status, _, answer = self.receive(body + b"0000" + empty_pack())
                self.assertIn(status, (200, 400))
                if status == 200 and answer:
                    self.assertRegex(answer, rb"ERR weir: |unpack |ng ")
        self.assertEqual(git("for-each-ref", cwd=self.served).out, before)
        self.no_child_is_left()
        self.still_serves()

    def test_no_push_makes_a_repository_unreadable(self):
        """Names of every odd shape that git takes, and one that is nested too deeply to be read again."""
        before = git("for-each-ref", cwd=self.served).out
        names = ["refs/heads/-x", "refs/heads/--upload-pack=x", "refs/heads/HEAD", "refs/heads/@", "refs/bisect/x",
                 "refs/worktree/x", "refs/heads/\u202e", "refs/heads/$(id)", "refs/heads/" + "/".join("a" * 127)]
        for name in names:
            with self.subTest(name[:40]):
                body = pkt(f"{ZERO} {self.main} {name}\0 report-status object-format=sha1".encode()) + b"0000"
                self.assertIn(b"unpack ok\n", self.receive(body + empty_pack())[2])
        for depth in (128, 300, 500):
            body = command(ZERO, self.main, "refs/heads/" + "/".join("b" * depth)) + b"0000" + empty_pack()
            self.assertIn(b"a ref name is not allowed", self.receive(body)[2])
        mirror = self.scratch / "mirror"
        self.weir.git("clone", "-q", "--mirror", self.weir.url("acme/site.git"), mirror)
        self.assertEqual(git("rev-parse", names[-1], cwd=mirror).out.strip(), self.main)
        for name in names:
            git("update-ref", "-d", name, cwd=self.served)
        self.assertEqual(git("for-each-ref", cwd=self.served).out, before)

    def test_trees_that_would_harm_who_checks_them_out_are_refused(self):
        settings = git("hash-object", "-w", "--stdin", cwd=self.work, input=b"[submodule \"x\"]\n path=x\n url=-u./x\n")
        blob, tree = settings.out.strip(), git("rev-parse", "main^{tree}", cwd=self.work).out.strip()
        for number, (entry, target) in enumerate((
                (b"40000 .git", tree), (b"40000 .GIT", tree), (b"40000 git~1", tree), (b"40000 ..", tree),
                (b"40000 .g\xe2\x80\x8cit", tree), (b"100644 .gitmodules", blob), (b"120000 .gitmodules", blob),
                (b"100644 a/b", blob), (b"100644 x\0" + bytes.fromhex(blob) + b"100644 x", blob))):
            with self.subTest(entry):
                made = git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", cwd=self.work,
                           input=entry + b"\0" + bytes.fromhex(target)).out.strip()
                tip = git("commit-tree", "-m", "evil", made, cwd=self.work).out.strip()
                pushed = self.weir.git("push", self.weir.url("acme/site.git", self.token),
                                       f"{tip}:refs/heads/x{number}", cwd=self.work, check=False)
                self.assertNotEqual(pushed.returncode, 0)
                self.assertRegex(pushed.err, "fsck error|unpacker error")
        self.nothing_is_left()

    def test_damaged_packs_leave_nothing(self):
        new = "34" * 20
        for pack in (b"", b"PACK", empty_pack(), empty_pack()[:-1], b"PACK\0\0\0\2\xff\xff\xff\xff" + bytes(400),
                     b"PACK\0\0\0\x09\0\0\0\1" + bytes(40), os.urandom(50000)):
            with self.subTest(pack=pack[:12]):
                status, _, answer = self.receive(command(ZERO, new, "refs/heads/x") + b"0000" + pack)
                self.assertEqual(status, 200)
                self.assertRegex(answer, rb"unpack (?!ok)|ng refs/heads/x")
        self.nothing_is_left()

    def test_push_over_the_size_limit_is_told_in_words_and_leaves_no_quarantine(self):
        work = make_work_tree(self.scratch / "work")
        commit(work, "big", os.urandom(2 * PUSH_BYTES_MAX))
        for http in ("HTTP/1.1", "HTTP/2"):
            with self.subTest(http=http):
                result = self.weir.git("push", self.weir.url("acme/site.git", self.token), "main:refs/heads/big",
                                       cwd=work, check=False, http=http)
                self.assertNotEqual(result.returncode, 0)
                self.assertIn(f"larger than the {PUSH_BYTES_MAX} bytes allowed", result.err)
        self.nothing_is_left()

    def nothing_is_left(self):
        self.no_child_is_left()
        objects = self.served / "objects"
        self.assertTrue(raw.wait_until(lambda: not list(objects.glob("tmp_objdir*"))),
                        list(objects.glob("tmp_objdir*")))
        self.assertEqual(list(objects.glob("pack/tmp_*")), [])
        self.assertEqual(list((self.served / "refs").rglob("*.lock")), [])
        self.assertEqual(git("for-each-ref", "refs/heads/x", "refs/heads/big", cwd=self.served).out, "")

    def test_requests_that_ask_for_too_much_are_answered_soon_and_in_words(self):
        alike = range(1, 15000)  # ids that differ in their last bytes only
        wants, haves = ([f"{word} {number:040x}\n" for number in alike] for word in ("want", "have"))
        began = time.monotonic()
        answer = self.upload(v2_fetch(*wants, "done\n"), version=2)[2]
        self.assertIn(f"not our ref {1:040x}".encode(), answer)
        self.assertIn(b"PACK", self.upload(v2_fetch(f"want {self.main}\n", *haves, "done\n"), version=2)[2])
        self.assertLess(time.monotonic() - began, 8)  # tables that collide took a minute
        haves = [f"have {self.main}\n"] * 15000
        answer = self.upload(v2_fetch(f"want {self.main}\n", *haves, "done\n"), version=2)[2]
        self.assertIn(b"repeated haves", answer)
        self.assertIn(b"larger than 1048576 bytes", self.upload(bytes(1024 * 1024 + 1), version=2)[2])
        self.no_child_is_left()


class EndlessPushTest(AbuseTestCase):
    config = "[git]\npush_time_max_s = 10\n"

    def test_a_small_pack_that_is_endless_work_is_ended_though_it_shows_progress(self):
        """90 kB; each of its deltas makes another 48 MiB to be hashed."""
        with Connection(self.weir, timeout=60) as connection:
            body = command(ZERO, "34" * 20, "refs/heads/x") + b"0000" + delta_bomb(48 << 20, 600)
            connection.send(request("Content-Type: application/x-git-receive-pack-request", "Connection: close",
                                    f"Content-Length: {len(body)}", f"Authorization: Bearer {self.token}",
                                    line="POST /acme/site.git/git-receive-pack HTTP/1.1", body=body))
            self.assertIn(b"ng refs/heads/x result unknown", connection.read_to_end())
        self.weir.wait_for_record(lambda r: r.get("detail") == "took longer than allowed")
        self.no_child_is_left()
        self.assertEqual(list((self.served / "objects").glob("tmp_objdir*")), [])


class HeldMemoryTest(AbuseTestCase):
    config = "[limits]\nrequests_held_bytes_max = \"16 MiB\"\n"

    def test_large_requests_that_never_end_do_not_shut_out_small_ones(self):
        for size in ((8 << 20) - 1, 11 << 19):
            connection = Connection(self.weir)
            self.addCleanup(connection.close)
            connection.send(body_request("Git-Protocol: version=2", f"Content-Length: {8 << 20}", body=bytes(size)))
        # 2.5 MiB are left, 2 of them for small requests.
        self.assertTrue(raw.wait_until(lambda: b"server is busy" in self.upload(bytes(1 << 20), version=2)[2]))
        self.weir.git("clone", "-q", self.weir.url("acme/site.git"), self.scratch / "clone")
        self.weir.git("push", "-q", self.weir.url("acme/site.git", self.token), "main:refs/heads/beside", cwd=self.work)


class LogTest(AbuseTestCase):
    def test_nothing_in_the_log_moves_a_terminal_or_ends_a_line(self):
        agent = "evil \u009b31m\u0085{\u2028\u202e"
        for line in (f"GET {REFS} HTTP/1.1", "GET /%c2%9b2J/%e2%80%ae.git/info/refs?service=git-upload-pack HTTP/1.1"):
            with Connection(self.weir) as connection:
                connection.send(request(f"User-Agent: {agent.encode().decode('latin-1')}", "Connection: close",
                                        line=line))
                connection.read_to_end()
        record = self.weir.wait_for_record(lambda r: r["path"].startswith("/%c2%9b2J"))
        self.assertEqual((record["agent"], record["tenant"]), (agent, "\u009b2J"))
        log = self.weir.log_path.read_text()
        self.assertEqual(len(log.splitlines()), log.count("\n"))
        self.assertRegex(log, r"\A[\x20-\x7e\n]*\Z")

    def test_a_record_is_small_and_cheap_whatever_the_path(self):
        deep = "/".join(["%25" + "25" * 100] * 24)
        with Connection(self.weir) as connection:
            connection.send(request("Connection: close", line=f"GET /acme/{deep}/info/refs?service=git-upload-pack "
                                                              "HTTP/1.1"))
            self.assertEqual(status_of(connection.read_to_end()), 401)
        self.weir.wait_for_record(lambda r: r["path"].startswith("/acme/%25"))
        self.assertLess(max(map(len, self.weir.log_text().splitlines())), 2500)


class SecretsTest(AbuseTestCase):
    def fetch_child_shows(self, authorization):
        """Command line and environment of the git that serves a fetch, which no plan does with its filter, with the
        token in every place."""
        large = self.weir.make_repository("acme/large.git")
        work = make_work_tree(self.scratch / "large")
        tip = commit(work, "large", os.urandom(32 * 1024 * 1024))  # more than all buffers hold
        git("push", "-q", large, "main", cwd=work)
        with Connection(self.weir) as connection:
            body = v2_fetch(f"want {tip}\n", "filter tree:9\n", "done\n").replace(pkt("object-format=sha1"), pkt(f"agent={self.token}") +
                                                              pkt("object-format=sha1"))
            connection.send(request(UPLOAD_TYPE, "Git-Protocol: version=2", f"Authorization: {authorization}",
                                    f"User-Agent: {self.token}", f"traceparent: 00-{self.token}", f"Content-Length: {len(body)}",
                                    line=f"POST /acme/large.git/git-upload-pack?{self.token} HTTP/1.1", body=body))
            self.assertTrue(raw.wait_until(lambda: raw.git_children(self.weir)))
            shown = b"".join(raw.command_line(pid).encode() + raw.environment(pid) for pid in raw.git_children(self.weir))
        self.assertIn(b"upload-pack", shown)
        self.assertIn(b"WEIR_REQUEST_ID=", shown)
        return shown

    def test_tokens_are_in_no_log_error_status_command_line_or_environment(self):
        spy = self.scratch / "spied"
        hook = self.served / "hooks/pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ncat >/dev/null\nenv >>{spy}\n"
                        f"cat /proc/$PPID/cmdline /proc/$PPID/environ >>{spy}\n")
        hook.chmod(0o755)
        self.weir.git("push", "-q", self.weir.url("acme/site.git", self.token), "main:refs/heads/spied", cwd=self.work)
        self.assertIn(b"GIT_COMMITTER_NAME", spy.read_bytes())
        token = self.token
        identity, secret = token.split("_")[1:3]
        shown = []

        def ask(line=f"GET {REFS} HTTP/1.1", *fields, body=b""):
            with Connection(self.weir) as connection:
                connection.send(request("Connection: close", *fields, line=line, body=body))
                answer = connection.read_to_end()
                shown.append(answer)
                return answer

        basic = base64.b64encode(f"x:{token}".encode()).decode()
        damaged = token[:-1] + ("a" if token[-1] != "a" else "b")
        for value in (f"Bearer {token}", f"Basic {basic}", f"Bearer {damaged}", f"Digest {token}", f"Bearer {token} x",
                      f"Basic {base64.b64encode(token.encode()).decode()}"):
            ask(f"GET {REFS} HTTP/1.1", f"Authorization: {value}")
            ask("GET /acme/none.git/info/refs?service=git-upload-pack HTTP/1.1", f"Authorization: {value}")
        encoded = token.replace("_", "%5F")
        twice = token.replace("_", "%255F")
        for name in (token, encoded, twice, "%77" + token[1:], f"x%20{token}", f"{token}.git"):
            ask(f"GET /{name}/x.git/info/refs?service=git-upload-pack HTTP/1.1")
            ask(f"GET /acme/{name}/info/refs?service=git-upload-pack HTTP/1.1")
            ask(f"GET /acme/site.git/info/refs?service={name} HTTP/1.1")
            ask(f"{name} /acme/site.git HTTP/1.1")
            ask(f"GET {REFS}&token={name} HTTP/1.1")
            ask(f"GET https://{name}@localhost{REFS} HTTP/1.1")
        for field in ("User-Agent", "Referer", "Git-Protocol", "X-Forwarded-For", "traceparent", "Cookie", "Accept",
                      "Content-Type", "Content-Encoding", "Accept-Language", "X-Request-Id"):
            ask(f"GET {REFS} HTTP/1.1", f"{field}: {token}")
            ask(f"POST {UPLOAD} HTTP/1.1", f"{field}: {token}", "Content-Length: 4", body=b"0000")
            ask(f"GET {REFS} HTTP/1.1", f"{field}: {'x' * (199 - len(token) // 2)}{token}")
        self.upload(pkt(f"want {token}"))
        self.upload(v2_fetch(f"{token}\n"), version=2)
        self.upload(pkt(f"command={token}") + b"0000", version=2)
        self.upload(v0_fetch(self.main, capabilities=f"agent={token}"))
        self.upload(v2_fetch(f"want {self.main}\n", f"deepen-not {token}\n", "done\n"), version=2)
        self.receive(command(ZERO, self.main, f"refs/heads/{token}..", "report-status"))
        self.receive(command(ZERO, ZERO, f"refs/heads/{token}", f"report-status agent={token}") + b"0000")
        with Connection(self.weir) as connection:  # in flight while the status is asked for
            connection.send(request(UPLOAD_TYPE, "Content-Length: 100", f"User-Agent: {token}",
                                    line=f"POST /acme/{token}/git-upload-pack HTTP/1.1"))
            connection.send(request(UPLOAD_TYPE, "Content-Length: 100", f"X-Token: {token}",
                                    line=f"POST {UPLOAD}?{token} HTTP/1.1"))
            shown.append(self.weir.admin("/v1/status", socket_path=self.weir.state / "admin.sock")[1].encode())
        shown.append(self.weir.admin("/metrics")[1].encode())
        shown += [raw.command_line(pid).encode() + raw.environment(pid)
                  for pid in (self.weir.process.pid, *raw.descendants(self.weir.process.pid))]
        shown.append(self.fetch_child_shows(f"Bearer {token}"))
        self.weir.wait_for_record(lambda r: "***" in r.get("agent", ""))
        everywhere = {"log": self.weir.log_path.read_bytes(), "output": self.weir.output_text().encode(),
                      "children": spy.read_bytes(), "answers": b"".join(shown),
                      "state": b"".join(p.read_bytes() for p in self.weir.state.rglob("*") if p.is_file())}
        for place, text in everywhere.items():
            for needle in (secret.encode(), basic.encode(), secret[:16].encode()):
                self.assertNotIn(needle, text, f"{place}: {re.search(b'.{0,200}' + needle, text)}")
        self.assertIn(identity.encode(), everywhere["log"])


if __name__ == "__main__":
    unittest.main()
