"""Goal: clones are answered from plans, by no git process, over each transport and protocol version, and
an answer whose files end early is never taken for whole. Method: real clients; the request log says who
answered and how many bytes left; `git fsck --strict` reads what came; a pack is cut off under the server."""
import itertools
import os

from weir_server import WeirTestCase, fsck, git, make_work_tree

TRANSPORTS = list(itertools.product(("HTTP/1.1", "HTTP/2"), (0, 1, 2)))
BIG_BYTES = 3_000_000  # several pieces of an answer


class PlannedTest(WeirTestCase):
    def serve(self, name):
        served = self.weir.make_repository(name)
        work = make_work_tree(self.scratch / "work")
        (work / "big.bin").write_bytes(os.urandom(BIG_BYTES))
        git("add", "-A", cwd=work)
        git("commit", "-q", "-m", "big", cwd=work)
        git("push", "-q", "--mirror", served, cwd=work)
        git("repack", "-adqb", cwd=served)
        return served

    def clone(self, name, *arguments, http, protocol, check=True):
        """What the client did, and the record of the request that brought the pack."""
        before = len(self.weir.records())
        target = self.scratch / f"clone{before}"
        done = self.weir.git("clone", *arguments, self.weir.url(name), target, http=http,
                             protocol=protocol, check=check)
        self.weir.wait_for_record(lambda r: r in self.weir.records()[before:] and r.get("plan"))
        record = [r for r in self.weir.records()[before:] if r.get("plan")][-1]
        return done, record, target

    def test_clones_need_no_git_process(self):
        self.serve("acme/planned.git")
        for http, protocol in TRANSPORTS:
            for arguments in (["--mirror"], ["--single-branch", "--no-tags"], ["--progress"]):
                done, record, target = self.clone("acme/planned.git", *arguments, http=http,
                                                  protocol=protocol)
                fsck(target)
                self.assertEqual(record["plan"], "planned", (http, protocol, arguments))
                self.assertNotIn("child_cpu_us", record)
                self.assertGreater(record["bytes_out"], BIG_BYTES)
                if "--progress" in arguments:
                    self.assertRegex(done.err, r"remote: Total \d+ \(delta \d+\), reused \d+")

    def test_a_pack_that_was_cut_off_is_never_taken_for_whole(self):
        served = self.serve("acme/cut.git")
        _, record, _ = self.clone("acme/cut.git", "-q", http="HTTP/2", protocol=2)
        self.assertEqual(record["plan"], "planned")  # and its files are open from here on
        pack = next((served / "objects/pack").glob("*.pack"))
        pack.chmod(0o644)
        os.truncate(pack, BIG_BYTES // 2)
        for http, protocol in TRANSPORTS:
            done, record, target = self.clone("acme/cut.git", "-q", http=http, protocol=protocol,
                                              check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertFalse(target.exists())
            self.assertIn(record["decision"], ("failed", "client_gone"))
