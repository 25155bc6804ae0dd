"""Goal: processes come and go without clients noticing more than they must. Method: kill and signal the real
processes by their own pid, with real git beside."""
import os
import pathlib
import signal
import subprocess
import threading
import unittest

from processes import children_of, wait_until
from weir_server import GIT_ENVIRONMENT, WeirTestCase, fsck, git, make_work_tree


class ProcessTest(WeirTestCase):
    def setUp(self):
        super().setUp()
        self.served = self.weir.make_repository(f"acme/{self.id().rsplit('.', 1)[1]}.git")
        self.url = self.weir.url(f"acme/{self.served.name}", self.token)
        self.work = make_work_tree(self.scratch / "work")
        git("push", "-q", "--mirror", self.served, cwd=self.work)

    def named_child(self, part):
        found = [pid for pid, name in children_of(self.weir.process.pid).items() if part in name]
        self.assertEqual(len(found), 1, children_of(self.weir.process.pid))
        return found[0]

    def status(self):
        result = self.weir.curl("/acme/nothing.git/info/refs?service=git-upload-pack", "-o",
                                "/dev/null", "-w", "%{http_code}")
        return result.returncode, result.stdout.decode()

    def test_serving_process_that_is_killed_is_replaced_and_nobody_is_refused(self):
        results, stop = [], threading.Event()

        def client():
            while not stop.is_set():
                results.append(self.status()[0])

        thread = threading.Thread(target=client)
        thread.start()
        try:
            for _ in range(3):
                victim = self.named_child("serving")
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda: any("serving" in name and pid != victim for pid, name in
                                       children_of(self.weir.process.pid).items()), what="restart")
                wait_until(lambda: self.status() == (0, "401"), what="served again")
        finally:
            stop.set()
            thread.join()
        self.assertNotIn(7, results)  # curl 7: connection refused
        self.assertIn(0, results)

    def test_launcher_that_is_killed_is_replaced(self):
        victim = self.named_child("launcher")
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: any("launcher" in name and pid != victim for pid, name in
                               children_of(self.weir.process.pid).items()), what="new launcher")
        target = self.scratch / "clone"
        wait_until(lambda: self.weir.git("clone", "-q", self.url, target,
                                         check=False).returncode == 0, what="clone")
        fsck(target)

    def test_client_that_leaves_leaves_no_process_behind(self):
        launcher = self.named_child("launcher")
        # A body that never ends keeps receive-pack waiting for more.
        client = subprocess.Popen(
            ["curl", "-sS", "-N", "--cacert", self.weir.certificate, "-X", "POST", "-T", "-",
             "-H", "Content-Type: application/x-git-receive-pack-request",
             "-u", f"token:{self.token}", self.url.split("@")[0][:8] + self.url.split("@")[1] +
             "/git-receive-pack"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=GIT_ENVIRONMENT)
        tip = git("rev-parse", "main", cwd=self.served).out.strip()
        command = f"{tip} {tip} refs/heads/new\0report-status side-band-64k\n".encode()
        client.stdin.write(b"%04x%s0000PACK" % (len(command) + 4, command))
        client.stdin.flush()
        git_children = lambda: [pid for pid, name in children_of(launcher).items()
                                if name.startswith("git")]
        wait_until(lambda: len([pid for pid in git_children() if "receive-pack" in pathlib.Path(
            f"/proc/{pid}/cmdline").read_text()]) == 1, what="receive-pack")
        client.kill()
        client.wait()
        client.stdin.close()
        wait_until(lambda: not git_children(), seconds=2, what="no child left")
        self.assertEqual(list((self.served / "objects").glob("tmp_objdir*")), [])

    def test_reload_drops_no_connection(self):
        stop, failures = threading.Event(), []

        def client():
            while not stop.is_set():
                result = self.weir.git("ls-remote", self.url, check=False)
                if result.returncode != 0:
                    failures.append(result.err)

        thread = threading.Thread(target=client)
        thread.start()
        try:
            for _ in range(5):
                self.weir.reload()
        finally:
            stop.set()
            thread.join()
        self.assertEqual(failures, [])

    def test_broken_configuration_is_refused_and_the_old_one_stays(self):
        good = self.weir.config_path.read_text()
        try:
            self.weir.config_path.write_text(good + "\n[gti]\nx = 1\n")
            self.weir.reload()
            self.assertIn("reload refused", self.weir.output_text() + self.weir.log_path.read_text())
        finally:
            self.weir.config_path.write_text(good)
        self.weir.git("ls-remote", self.url)


if __name__ == "__main__":
    unittest.main()
