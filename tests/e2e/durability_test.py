"""Goal: a push that is acknowledged survives a power cut. Method: the system calls of a real push are recorded
(strace), and in their order every file, folder entry and ref it made comes before a syncfs of that file
system, which has returned before the first byte of the report leaves for the client. Served through epoll,
as io_uring's sends are no system calls; the code above them is the same. That a failed sync is never
acknowledged: tests/git/receive_pack_test.cc.
"""
import re
import shutil
import signal
import subprocess
import unittest

from processes import children_of, wait_until
from weir_server import Weir, commit, fsck, git, make_work_tree

MAKES = "openat,rename,renameat,renameat2,link,linkat,mkdir,mkdirat,unlink,unlinkat"
SENDS = "write,writev,sendto,sendmsg,sendmmsg"


class Call:
    """One call: when it began and ended, as places in the record."""

    def __init__(self, name, text, began):
        self.name, self.text, self.began, self.ended = name, text, began, None


def read_calls(path):
    calls, open_calls = [], {}
    for place, line in enumerate(path.read_text(errors="replace").splitlines()):
        found = re.match(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)", line)
        if not found:
            continue
        pid, resumed, name, rest = found.groups()
        if resumed:
            call = open_calls.pop(pid, None)
            if call:
                call.ended, call.text = place, call.text + rest
        else:
            call = Call(name, rest, place)
            calls.append(call)
            if rest.endswith("<unfinished ...>"):
                open_calls[pid] = call
            else:
                call.ended = place
    return calls


@unittest.skipIf(shutil.which("strace") is None, "needs strace")
class DurabilityTest(unittest.TestCase):
    def record_push(self, http, unpack_limit):
        with Weir(loops=1, arguments=["--io", "epoll"]) as weir:
            token = weir.add_token()
            weir.reload()
            served = weir.make_repository("acme/r.git")
            git("config", "receive.unpackLimit", unpack_limit, cwd=served)
            work = make_work_tree(weir.folder / "work")
            git("push", "-q", served, "main", cwd=work)
            url = weir.url("acme/r.git", token)
            weir.git("ls-remote", url)  # its workers are up
            tip = commit(work, "new/file", "new\n")
            record = weir.folder / "calls"
            traced = [part for pid, name in children_of(weir.process.pid).items()
                      if name in ("weir-serving", "weir-launcher") for part in ("-p", str(pid))]
            tracer = subprocess.Popen(
                ["strace", "-f", "-yy", "-s", "100", "-o", record, "-e",
                 f"trace={MAKES},{SENDS},fsync,fdatasync,sync_file_range,syncfs", *traced],
                stderr=subprocess.PIPE, text=True)
            attached = 0
            while attached < 2:
                line = tracer.stderr.readline()
                self.assertIn("attached", line)
                attached += 1
            weir.git("push", "-q", url, "HEAD:refs/heads/topic/new", cwd=work, http=http)
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=20)
            self.assertEqual(git("rev-parse", "topic/new", cwd=served).out.strip(), tip)
            fsck(served)
            return read_calls(record), str(served)

    def check_order(self, http, unpack_limit):
        calls, served = self.record_push(http, unpack_limit)
        reports = [call for call in calls if call.name == "write" and "unpack ok" in call.text]
        self.assertEqual(len(reports), 1, "the child's report")
        changes = [call for call in calls if call.name in MAKES.split(",") and "= -1" not in call.text
                   and served in call.text and (call.name != "openat" or "O_CREAT" in call.text)
                   and call.began < reports[0].began]
        for what in ("objects/", "refs/heads/topic/new"):
            self.assertTrue([call for call in changes if what in call.text], what)
        synced = [call for call in calls if call.name == "syncfs" and served in call.text
                  and call.began > max(change.ended for change in changes)]
        self.assertEqual(len(synced), 1)
        self.assertRegex(synced[0].text, r"= 0$")
        told = [call for call in calls if call.name in SENDS.split(",") and "<TCP:[127" in call.text
                and call.began > reports[0].began]
        self.assertTrue(told, "the client was told")
        self.assertLess(synced[0].ended, min(call.began for call in told))
        # Nothing that the report speaks of is made later.
        late = [call.text for call in calls if call.name in ("rename", "link", "openat")
                and call.began > synced[0].began and served in call.text
                and ("O_CREAT" in call.text or call.name != "openat")]
        self.assertEqual(late, [])

    def test_loose_objects_and_ref_are_synced_before_the_report_http1(self):
        self.check_order("HTTP/1.1", 100)

    def test_pack_and_ref_are_synced_before_the_report_http2(self):
        self.check_order("HTTP/2", 1)


if __name__ == "__main__":
    unittest.main()
