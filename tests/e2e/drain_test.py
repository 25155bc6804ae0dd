"""Goal: a server that is told to end, or replaced by another on the same sockets, breaks no client.
Method: real git clients and a slow curl beside SIGTERM; systemd's socket activation is done by hand.
"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from processes import descendants_of, wait_until
from weir_server import BINARY, GIT_ENVIRONMENT, Weir, commit, fsck, git, io_arguments, make_work_tree

VERSIONS = ["HTTP/1.1", "HTTP/2"]


def pkt(text):
    return b"%04x%s" % (len(text) + 4, text)


class ServerCase(unittest.TestCase):
    config = ""
    big_bytes = 30_000_000

    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-scratch-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.weir = Weir(config=self.config)
        self.addCleanup(self.weir.__exit__)
        self.weir.prepare()
        self.served = self.weir.make_repository("acme/big.git")
        work = make_work_tree(self.scratch / "work")
        self.tip = commit(work, "big", os.urandom(self.big_bytes))
        git("push", "-q", self.served, "main", cwd=work)
        git("repack", "-adq", cwd=self.served)  # else each clone compresses it again

    def clone(self, number):
        version = VERSIONS[number % 2]
        return subprocess.Popen(
            ["git", "-c", f"http.sslCAInfo={self.weir.certificate}", "-c", f"http.version={version}",
             "clone", "-q", self.weir.url("acme/big.git"), self.scratch / f"clone{number}"],
            env=GIT_ENVIRONMENT, stderr=subprocess.PIPE)

    def slow_fetch(self, *arguments):
        """A whole clone that would take minutes."""
        body = (pkt(b"command=fetch") + b"0001" + pkt(b"no-progress\n") +
                pkt(b"want %s\n" % self.tip.encode()) + pkt(b"done\n") + b"0000")
        client = subprocess.Popen(
            ["curl", "-sS", "--cacert", self.weir.certificate, "--limit-rate", "100k",
             "-H", "Git-Protocol: version=2", "-H", "Content-Type: application/x-git-upload-pack-request",
             "--data-binary", "@-", "-o", "/dev/null", *arguments,
             self.weir.url("acme/big.git/git-upload-pack")],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=GIT_ENVIRONMENT)
        client.stdin.write(body)
        client.stdin.close()
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        self.addCleanup(client.stderr.close)
        return client

    def in_flight(self):
        status = self.weir.admin("/v1/status", self.weir.state / "admin.sock")[1]
        return status.count("git-upload-pack")

    def in_last_request(self, clones):
        """Whether that many clones have their refs and are fetching, or are done: what a drain promises
        to finish is requests; a client between two of them needs a successor (SocketActivationTest)."""
        running = self.in_flight()
        operations = [record["operation"] for record in self.weir.records()]
        return (operations.count("ls-refs") == clones and
                running + operations.count("clone") >= clones)

    def ended(self, seconds=30):
        code = self.weir.process.wait(seconds)
        self.weir.process = None
        self.weir.output.close()
        return code


class DrainTest(ServerCase):
    def test_clones_that_run_end_well(self):
        self.weir.start()
        clones = [self.clone(number) for number in range(4)]
        wait_until(lambda: self.in_last_request(len(clones)), what="every clone in its last request")
        below = descendants_of(self.weir.process.pid)
        self.weir.process.send_signal(signal.SIGTERM)
        for number, client in enumerate(clones):
            _, complaint = client.communicate(timeout=60)
            self.assertEqual(client.returncode, 0, complaint)
            fsck(self.scratch / f"clone{number}")
        self.assertEqual(self.ended(), 0)
        wait_until(lambda: not [pid for pid in below if os.path.exists(f"/proc/{pid}")], what=below)

    def test_readiness_is_off_at_once_and_a_second_sigterm_ends(self):
        self.weir.start()
        slow = self.slow_fetch()
        wait_until(lambda: self.in_flight() == 1, what="a fetch in flight")
        self.assertEqual(self.weir.admin("/readyz"), (200, "ready\n"))
        self.weir.process.send_signal(signal.SIGTERM)
        wait_until(lambda: self.weir.admin("/readyz") == (503, "draining\n"), 1, "not ready")
        self.assertEqual(self.weir.admin("/healthz")[0], 200)
        self.assertIsNone(slow.poll())
        self.weir.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.ended(5), 0)
        self.assertIn("stop: 1 request cut", self.weir.log_text())
        self.assertNotEqual(slow.wait(10), 0)


class ShortDrainTest(ServerCase):
    config = "[limits]\ndrain_s = 2\n"

    def test_stragglers_are_cut_at_the_deadline_counted_and_logged(self):
        self.weir.start()
        slow = [self.slow_fetch("--http1.1"), self.slow_fetch("--http2")]
        wait_until(lambda: self.in_flight() == 2, what="fetches in flight")
        asked = time.monotonic()
        self.weir.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.ended(), 0)
        self.assertGreaterEqual(time.monotonic() - asked, 2)
        for client in slow:
            self.assertNotEqual(client.wait(60), 0)  # reads what its socket holds, slowly
        self.assertIn("drain: 2 requests cut", self.weir.log_text())
        cut = [record for record in self.weir.records() if record.get("cut")]
        self.assertEqual(len(cut), 2, self.weir.log_text())


class LateClientTest(ServerCase):
    """Clients whose next request comes after the signal, when nothing takes over from this server."""
    config = "[access]\npublic_read = false\n[limits]\ndrain_accept_s = 10\n"
    big_bytes = 200_000

    def test_a_clone_between_two_requests_ends_well(self):
        token = self.weir.add_token()
        self.weir.start()
        go = self.scratch / "go"
        asked = []
        for number in range(2):
            # git asks this after the first answer, a 401, and waits for it before the next request.
            helper = (f"!f() {{ test \"$1\" = get || exit 0; touch {self.scratch}/asked{number}; "
                      f"until test -e {go}; do sleep 0.05; done; "
                      f"echo username=t; echo password={token}; }}; f")
            asked.append(self.scratch / f"asked{number}")
            self.addCleanup(go.touch)
            client = subprocess.Popen(
                ["git", "-c", f"http.sslCAInfo={self.weir.certificate}",
                 "-c", f"http.version={VERSIONS[number]}", "-c", f"credential.helper={helper}",
                 "clone", "-q", self.weir.url("acme/big.git"), self.scratch / f"clone{number}"],
                env=GIT_ENVIRONMENT, stderr=subprocess.PIPE)
            self.addCleanup(client.stderr.close)
            setattr(self, f"client{number}", client)
        wait_until(lambda: all(path.exists() for path in asked), what="401s answered")
        self.weir.process.send_signal(signal.SIGTERM)
        wait_until(lambda: self.weir.admin("/readyz") == (503, "draining\n"), 5, "not ready")
        go.touch()
        for number, client in enumerate((self.client0, self.client1)):
            _, complaint = client.communicate(timeout=60)
            self.assertEqual(client.returncode, 0, complaint)
            fsck(self.scratch / f"clone{number}")
        self.assertEqual(self.ended(), 0)
        self.assertNotIn("cut", self.weir.log_text())


class LateConnectionTest(ServerCase):
    config = "[limits]\ndrain_accept_s = 0\n"

    def test_when_accepting_has_ended_new_clients_are_refused_and_wait_for_nothing(self):
        self.weir.start()
        slow = self.slow_fetch()
        wait_until(lambda: self.in_flight() == 1, what="a fetch in flight")
        self.weir.process.send_signal(signal.SIGTERM)

        def refused():
            try:
                socket.create_connection(("127.0.0.1", self.weir.port), 1).close()
            except ConnectionRefusedError:
                return True
            except ConnectionResetError:  # came in the moment in which the socket closed
                return False
            return False
        wait_until(refused, 10, "refusals")
        self.assertIsNone(slow.poll())
        self.weir.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.ended(5), 0)


class ClassDeadlineTest(ServerCase):
    config = "[limits]\ndrain_accept_s = 0\ndrain_fetch_s = 1\n"

    def test_a_fetch_is_cut_when_its_time_is_over_and_a_push_goes_on(self):
        token = self.weir.add_token()
        hook = self.served / "hooks" / "pre-receive"
        hook.write_text(f"#!/bin/sh\ntouch {self.scratch}/pushing\n"
                        f"until test -e {self.scratch}/go; do sleep 0.05; done\n")
        hook.chmod(0o755)
        self.addCleanup((self.scratch / "go").touch)
        self.weir.start()
        slow = [self.slow_fetch("--http1.1"), self.slow_fetch("--http2")]
        push = subprocess.Popen(
            ["git", "-c", f"http.sslCAInfo={self.weir.certificate}", "push", "-q",
             self.weir.url("acme/big.git", token), "main~1:refs/heads/pushed"],
            cwd=self.scratch / "work", env=GIT_ENVIRONMENT, stderr=subprocess.PIPE)
        self.addCleanup(push.stderr.close)
        wait_until(lambda: self.in_flight() == 2 and (self.scratch / "pushing").exists(),
                   what="fetches and a push in flight")
        self.weir.process.send_signal(signal.SIGTERM)
        for client in slow:
            self.assertNotEqual(client.wait(30), 0)
        self.assertIn('weir_drain_cut_total{class="fetch"} 2\n', self.weir.admin("/metrics")[1])
        self.assertIn('weir_drain_cut_total{class="push"} 0\n', self.weir.admin("/metrics")[1])
        cut = [record["operation"] for record in self.weir.records() if record.get("cut")]
        self.assertEqual(cut, ["clone", "clone"])
        self.assertRegex(self.weir.log_text(), r"drain: \d requests? cut: ")
        self.assertIsNone(push.poll())
        (self.scratch / "go").touch()
        _, complaint = push.communicate(timeout=30)
        self.assertEqual(push.returncode, 0, complaint)
        self.assertEqual(self.ended(), 0)


class SocketActivationTest(ServerCase):
    """What systemd does at `systemctl restart`, but with both servers at once: harder for us."""
    big_bytes = 2_000_000

    def setUp(self):
        super().setUp()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.admin = socket.create_server(("127.0.0.1", 0))
        self.control = socket.socket(socket.AF_UNIX)
        self.control.bind(str(self.weir.state / "admin.sock"))
        self.control.listen()
        for made in (self.listening, self.admin, self.control):
            self.addCleanup(made.close)
        self.weir.port = self.listening.getsockname()[1]
        self.weir.admin_port = self.admin.getsockname()[1]
        self.started = 0
        self.weir.output = open(self.weir.folder / "output", "ab")
        self.weir.process = self.start()

    def start(self):
        passed = [self.listening.fileno(), self.admin.fileno(), self.control.fileno()]
        # Moved clear of 3..5 first, as they may be among these.
        script = ("exec {a}<&%d {b}<&%d {c}<&%d; exec 3<&$a 4<&$b 5<&$c; export LISTEN_PID=$$; "
                  "exec \"$@\"" % tuple(passed))
        self.started += 1
        path = self.weir.folder / f"output{self.started}"
        with open(path, "wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", script, "bash", BINARY, "serve", "--config", self.weir.config_path,
                 "--root", self.weir.root, "--state", self.weir.state, "--loops", "2",
                 *io_arguments([])],
                env={"PATH": "/usr/bin:/bin", "LISTEN_FDS": "3",
                     "LISTEN_FDNAMES": "https:admin:admin"},
                pass_fds=passed, stdout=output, stderr=output)
        wait_until(lambda: b"ready https" in path.read_bytes(), 30,
                   lambda: path.read_text(errors="replace"))
        return process

    def test_restart_under_load_loses_nothing(self):
        stop, failures, done = threading.Event(), [], [0]

        def client(number):
            target = self.scratch / f"loop{number}"
            while not stop.is_set():
                arguments = (["ls-remote", self.weir.url("acme/big.git")] if number % 3
                             else ["clone", "-q", self.weir.url("acme/big.git"), target])
                result = self.weir.git(*arguments, http=VERSIONS[number % 2], check=False)
                shutil.rmtree(target, ignore_errors=True)
                done[0] += 1
                if result.returncode != 0:
                    failures.append(result.err)

        threads = [threading.Thread(target=client, args=[number]) for number in range(6)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                enough = done[0] + 12
                wait_until(lambda n=enough: done[0] >= n, 60, "clients at work")
                old = self.weir.process
                below = descendants_of(old.pid)
                self.weir.process = self.start()
                old.send_signal(signal.SIGTERM)
                self.assertEqual(old.wait(60), 0)
                wait_until(lambda pids=below: not [pid for pid in pids
                                                   if os.path.exists(f"/proc/{pid}")], what="exit")
            enough = done[0] + 12
            wait_until(lambda: done[0] >= enough, 60, "clients served by the last one")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        print(f"\n  3 restarts during {done[0]} git operations, {len(failures)} failed")
        self.assertEqual(failures, [])


if __name__ == "__main__":
    unittest.main()
