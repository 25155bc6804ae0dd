"""Goal: what the machine cannot give is refused in words to the one request, and everything recovers by itself.
Method: small limits and full disks around a real server. Full disks are small tmpfs mounts: these tests
need root. tests/git/receive_pack_test.cc has failed syncs and records.
"""
import os
import pathlib
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

from processes import children_of, wait_until
from weir_server import BINARY, Weir, commit, fsck, git, io_arguments, make_work_tree

MIB = 1024 * 1024


class ExhaustionCase(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-scratch-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.weir = Weir()
        self.weir.prepare()
        self.addCleanup(self.weir.__exit__)
        self.token = self.weir.add_token()
        self.work = make_work_tree(self.scratch / "work")

    def serve(self):
        self.served = self.weir.make_repository("acme/r.git")
        git("push", "-q", self.served, "main", cwd=self.work)

    @property
    def url(self):
        return self.weir.url("acme/r.git", self.token)

    def ls_remote(self):
        return self.weir.git("ls-remote", self.url, "refs/heads/main", check=False)

    def push(self, ref, tip="main"):
        return self.weir.git("push", self.url, f"{tip}:refs/heads/{ref}", cwd=self.work, check=False)

    def leftovers(self):
        return [str(path) for path in self.served.rglob("*")
                if path.name.endswith(".lock") or "tmp_" in path.name]

    def metric(self, name):
        for line in self.weir.admin("/metrics")[1].splitlines():
            if line.split(" ")[0].split("{")[0] == name:
                return float(line.split(" ")[1])
        raise AssertionError(f"no metric {name}")

    def serving(self):
        found = [pid for pid, name in children_of(self.weir.process.pid).items() if "serving" in name]
        return found[0] if found else None


class DescriptorsTest(ExhaustionCase):
    def test_connections_beyond_the_descriptors_wait_and_are_served_later(self):
        self.serve()
        self.weir.start()
        self.assertEqual(self.ls_remote().returncode, 0)
        # The kernel keeps the limit of when accepting began, so a new process must begin with it.
        used = len(os.listdir(f"/proc/{self.serving()}/fd"))
        resource.prlimit(self.weir.process.pid, resource.RLIMIT_NOFILE, (used + 8, used + 8))
        victim = self.serving()
        os.kill(victim, signal.SIGKILL)
        serving = wait_until(lambda: self.serving() != victim and self.serving(), what="restart")
        self.assertEqual(self.ls_remote().returncode, 0)
        held = [socket.create_connection(("127.0.0.1", self.weir.port)) for _ in range(40)]
        try:
            wait_until(lambda: len(os.listdir(f"/proc/{serving}/fd")) >= used + 8, what="full")
            waiting = subprocess.Popen(
                ["curl", "-sS", "--max-time", "60", "--cacert", self.weir.certificate, "-o", "/dev/null",
                 "-w", "%{http_code}", self.weir.url("acme/r.git/info/refs?service=git-upload-pack")],
                stdout=subprocess.PIPE)
            with self.assertRaises(subprocess.TimeoutExpired):
                waiting.wait(1)
        finally:
            for connection in held:
                connection.close()
        self.assertEqual(waiting.communicate(timeout=60)[0], b"200")
        self.assertEqual(self.serving(), serving)
        self.assertEqual(self.ls_remote().returncode, 0)

    def test_a_child_that_cannot_be_started_is_refused_in_words(self):
        self.serve()
        self.weir.start()
        self.assertEqual(self.ls_remote().returncode, 0)
        serving = self.serving()
        soft, hard = resource.prlimit(serving, resource.RLIMIT_NOFILE)
        tip = commit(self.work, "new", "new\n")
        with self.idle_connection() as talk:  # has its descriptor already
            used = len(os.listdir(f"/proc/{serving}/fd"))
            resource.prlimit(serving, resource.RLIMIT_NOFILE, (used + 2, hard))
            wanted = git("rev-parse", "main", cwd=self.served).out.strip()
            answer = talk(wanted)
            self.assertIn(b"HTTP/1.1 200", answer)
            self.assertIn(b"ERR ", answer)
            resource.prlimit(serving, resource.RLIMIT_NOFILE, (soft, hard))
            self.assertIn(b"packfile", talk(wanted))
        pushed = self.push("later", tip)
        self.assertEqual(pushed.returncode, 0, pushed.err)
        self.assertEqual(self.serving(), serving)

    def idle_connection(self):
        case = self

        class Talk:
            def __enter__(self):
                context = ssl.create_default_context(cafile=case.weir.certificate)
                raw = socket.create_connection(("127.0.0.1", case.weir.port))
                self.tls = context.wrap_socket(raw, server_hostname="localhost")
                self.tls.settimeout(30)
                self(None)
                return self

            def __exit__(self, *_):
                self.tls.close()

            def __call__(self, wanted):
                def pkt(text):
                    return "%04x%s" % (len(text) + 4, text)
                body = (pkt("command=ls-refs\n") + "0000" if wanted is None else
                        pkt("command=fetch\n") + "0001" + pkt(f"want {wanted}\n") + pkt("done\n") + "0000")
                self.tls.sendall(
                    (f"POST /acme/r.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\n"
                     f"Git-Protocol: version=2\r\nContent-Length: {len(body)}\r\n"
                     f"Content-Type: application/x-git-upload-pack-request\r\n\r\n{body}").encode())
                answer = b""
                while not answer.endswith(b"0\r\n\r\n"):
                    if b"Content-Length" in answer.title() and b"\r\n\r\n" in answer:
                        head, _, rest = answer.partition(b"\r\n\r\n")
                        length = [line for line in head.title().split(b"\r\n")
                                  if line.startswith(b"Content-Length")][0]
                        if len(rest) >= int(length.split(b":")[1]):
                            break
                    got = self.tls.recv(65536)
                    if not got:
                        break
                    answer += got
                return answer

        return Talk()


class LockedMemoryTest(ExhaustionCase):
    @unittest.skipIf(os.geteuid() != 0, "needs root, to become a user without CAP_IPC_LOCK")
    def test_without_locked_memory_it_serves_or_says_why_not(self):
        nobody = 65534
        self.serve()
        for path in [self.weir.folder, *self.weir.folder.rglob("*")]:
            os.chown(path, nobody, nobody)
        self.weir.folder.chmod(0o755)
        binary = shutil.copy(BINARY, self.weir.folder / "weir")  # readable for that user
        output = self.weir.folder / "output"
        with open(output, "wb") as file:
            self.weir.process = subprocess.Popen(
                [binary, "serve", "--config", self.weir.config_path, "--root", self.weir.root,
                 "--state", self.weir.state, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                 *io_arguments([])],
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)),
                user=nobody, group=nobody, extra_groups=[], stdout=file, stderr=file)
        self.weir.output = open(output, "ab")
        wait_until(lambda: b"ready https" in output.read_bytes() or
                   self.weir.process.poll() is not None, 30, "an outcome")
        text = output.read_text()
        if "ready https" not in text:
            self.assertRegex(text + self.weir.log_text(), "(?i)memlock|locked memory")
            self.weir.process = None
            return
        self.weir.port = int(text.split("ready https://")[1].split()[0].rpartition(":")[2])
        self.assertEqual(self.ls_remote().returncode, 0)
        self.assertEqual(self.weir.git("clone", "-q", self.url, self.scratch / "clone").returncode, 0)


@unittest.skipIf(os.geteuid() != 0, "needs root, to mount a small disk")
class FullDiskTest(ExhaustionCase):
    def small_disk(self, path, mib):
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=755", "none", path], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", path], check=True)
        return path

    def fill(self, folder):
        filler = folder / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 65536)
            except OSError:
                pass
            try:
                while True:
                    file.write(b"x")
            except OSError:
                pass
        return filler

    def test_push_to_a_full_disk_is_refused_and_leaves_nothing(self):
        self.small_disk(self.weir.root / "acme", 12)
        self.serve()
        self.weir.start()
        tip = commit(self.work, "blob", os.urandom(4 * MIB))
        filler = self.fill(self.served)
        for version in ("HTTP/1.1", "HTTP/2"):
            pushed = self.weir.git("push", self.url, f"{tip}:refs/heads/new", cwd=self.work, check=False,
                                   http=version)
            self.assertNotEqual(pushed.returncode, 0)
            self.assertRegex(pushed.err, r"No space left|rejected|unpack")
        self.assertEqual(self.ls_remote().returncode, 0)
        self.weir.git("clone", "-q", self.url, self.scratch / "clone")
        wait_until(lambda: not self.leftovers(), 25, self.leftovers)
        filler.unlink()
        pushed = self.push("new", tip)
        self.assertEqual(pushed.returncode, 0, pushed.err)
        fsck(self.served)

    def test_full_state_folder_refuses_pushes_and_serves_reads(self):
        kept = self.scratch / "state"
        shutil.copytree(self.weir.state, kept)
        self.small_disk(self.weir.state, 2)
        shutil.copytree(kept, self.weir.state, dirs_exist_ok=True)
        self.serve()
        self.weir.start()
        filler = self.fill(self.weir.state)
        tip = commit(self.work, "small", "small\n")
        pushed = self.push("new", tip)
        self.assertNotEqual(pushed.returncode, 0)
        self.assertIn("could not record this push", pushed.err)
        self.weir.git("clone", "-q", self.url, self.scratch / "clone")
        # A serving process that dies now must come back without writing anything.
        victim = self.serving()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: self.serving() not in (None, victim), what="the next serving process")
        wait_until(lambda: self.ls_remote().returncode == 0, 20, self.weir.output_text)
        filler.unlink()
        pushed = self.push("new", tip)
        self.assertEqual(pushed.returncode, 0, pushed.err)
        self.assertEqual(os.listdir(self.weir.state / "pushes"), [])
        self.assertEqual(self.leftovers(), [])

    def test_log_on_a_full_disk_is_dropped_and_counted_and_whole_again_later(self):
        disk = self.small_disk(self.scratch / "logs", 1)
        self.weir.log_path = disk / "requests.log"
        self.weir.write_config()
        self.serve()
        self.weir.start()
        filler = self.fill(disk)
        dropped = self.metric("weir_log_dropped_total")
        wait_until(lambda: self.ls_remote().returncode == 0 and
                   self.metric("weir_log_dropped_total") > dropped + 30, 60, "drops are counted")
        filler.unlink()
        self.assertEqual(self.ls_remote().returncode, 0)
        whole = lambda: [line for line in self.weir.log_text().splitlines()
                         if line.startswith('{"time"') and line.endswith("}")]
        before = len(whole())
        wait_until(lambda: self.ls_remote().returncode == 0 and len(whole()) >= before + 2, 20, "records")
        torn = [line for line in self.weir.log_text().splitlines() if line not in whole()]
        # A record that the disk took half of stands alone.
        self.assertTrue(all('{"time"' not in line[1:] for line in torn), torn)


if __name__ == "__main__":
    unittest.main()
