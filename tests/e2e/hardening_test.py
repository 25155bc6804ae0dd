"""Goal: the server's processes cannot do what they never need: the serving process starts nothing, git and hooks have no
network and change nothing but the repository pushed to, secrets stay closed, no core is written.
Method: /proc of the running processes, hooks that try, and git's everyday work beside them."""
import itertools
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import processes
from weir_server import BINARY, Weir, commit, fsck, git, make_work_tree

LANDLOCK_SIGNALS = 6  # the version that confines signals


def field(pid, name):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split()[1]
    raise AssertionError(f"no {name} in the status of {pid}")


class HardeningTestCase(unittest.TestCase):
    """A server whose folders are not below /tmp, which hooks may write."""
    sandbox = ""
    tries = itertools.count()

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="weir-hardening-", dir="/var/tmp")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.outside = pathlib.Path(folder) / "outside"
        cls.outside.mkdir()
        (cls.outside / "file").write_text("content\n")
        cls.weir = Weir(config=cls.sandbox.format(outside=cls.outside), folder=folder)
        cls.weir.prepare()
        cls.token = cls.weir.add_token()
        cls.weir.start()
        cls.addClassCleanup(cls.weir.stop)
        cls.work = make_work_tree(pathlib.Path(folder) / "work")
        cls.landlock = cls.status()["confinement"]["children_landlock"]

    @classmethod
    def status(cls):
        return json.loads(cls.weir.admin("/v1/status", socket_path=cls.weir.state / "admin.sock")[1])

    def setUp(self):
        name = self.id().rpartition(".")[2][:40] + ".git"
        self.served = self.weir.make_repository(f"acme/{name}")
        self.url = self.weir.url(f"acme/{name}", self.token)

    def hook(self, name, script):
        path = self.served / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)

    def push(self, refspec="main", check=True):
        return self.weir.git("push", self.url, refspec, cwd=self.work, check=check)

    def tried(self, script):
        """What a pre-receive hook prints that runs the script."""
        self.hook("pre-receive", "cat >/dev/null\n" + script)
        output = self.push(f"main:refs/heads/try-{next(self.tries)}").err
        return "\n".join(line.removeprefix("remote: ").rstrip() for line in output.splitlines()
                         if line.startswith("remote: "))

    def connects(self):
        """Whether a hook reaches a TCP server of this machine."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            return self.tried("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", "
                              f"{server.getsockname()[1]}), 5)' && echo connected; exit 0")


class ProcessesTest(HardeningTestCase):
    def test_the_serving_process_is_confined_and_says_so(self):
        status = self.status()
        serving = status["serving_pid"]
        self.assertEqual((field(serving, "Seccomp"), field(serving, "NoNewPrivs")), ("2", "1"))
        for thread in os.listdir(f"/proc/{serving}/task"):
            self.assertEqual(field(f"{serving}/task/{thread}", "Seccomp"), "2", thread)
        confinement = status["confinement"]
        self.assertEqual({**confinement, "children_landlock": 0},
                         {"no_new_privs": 1, "not_dumpable": 1, "system_call_filter": 1,
                          "children_system_call_filter": 1, "children_landlock": 0,
                          "planners_system_call_filter": 1})
        metrics = self.weir.admin("/metrics")[1]
        for part, value in confinement.items():
            self.assertIn(f'weir_confinement{{part="{part}"}} {value}\n', metrics)
        self.assertIn("system_call_filter=1", self.weir.log_text())
        if status["io"] == "io_uring":
            self.assertIn("operations restricted", self.weir.log_text())

    def test_workers_and_the_launcher_gain_no_privileges(self):
        self.weir.git("ls-remote", self.url)
        found = set()
        for pid, name in processes.descendants_of(self.weir.process.pid).items():
            found.add(name)
            self.assertEqual(field(pid, "NoNewPrivs"), "1", name)
            if name == "weir":  # a worker: its own program
                self.assertEqual(field(pid, "Seccomp"), "2")
                limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
                self.assertRegex(limits, r"Max core file size +0 +0 ")
        self.assertEqual(found, {"weir-launcher", "weir-serving", "weir"})

    def test_a_planner_holds_its_socket_and_can_open_nothing(self):
        self.push()
        self.weir.git("clone", "-q", self.url, pathlib.Path(self.weir.folder) / "planned")
        self.assertIn('weir_fetch_plans_total{result="planned"} 1\n', self.weir.admin("/metrics")[1])
        planners = [pid for pid in processes.descendants_of(self.weir.process.pid)
                    if b"git-planner" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]
        self.assertEqual(len(planners), 1)
        pid = planners[0]
        self.assertEqual((field(pid, "Seccomp"), field(pid, "NoNewPrivs")), ("2", "1"))
        self.assertGreater(int(field(pid, "Seccomp_filters")), 1)  # the launcher's and its own
        # Standard streams, the socket, its own memory statistics: the files it was sent are mapped.
        self.assertEqual(sorted(os.listdir(f"/proc/{pid}/fd")), ["0", "1", "2", "3", "4"])
        self.assertEqual(os.readlink(f"/proc/{pid}/fd/4"), f"/proc/{pid}/statm")

    def test_a_process_that_dies_of_a_signal_leaves_no_core(self):
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
        if pattern.startswith(("|", "/")):
            self.skipTest(f"cores do not come to the folder of the process here: {pattern}")

        def allow_cores(pid):
            hard = resource.prlimit(pid, resource.RLIMIT_CORE)[1]
            resource.prlimit(pid, resource.RLIMIT_CORE, (hard, hard))

        def files():  # where the server's processes and their children are
            return {path for folder in (pathlib.Path.cwd(), pathlib.Path("/")) for path in folder.iterdir()}

        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["sh", "-c", "kill -ABRT $$"], cwd=folder, preexec_fn=lambda: allow_cores(0))
            self.assertNotEqual(os.listdir(folder), [], "not even a shell leaves one: this proves nothing")
        self.weir.git("ls-remote", self.url)
        before = files()
        for name in ("weir", "weir-launcher", "weir-serving"):  # each before its death takes others along
            pid = next(pid for pid, its_name in processes.descendants_of(self.weir.process.pid).items() if its_name == name)
            allow_cores(pid)
            os.kill(pid, signal.SIGABRT)
            processes.wait_until(lambda: pid not in processes.every_process(), what=f"the end of {name}")
        self.assertEqual([path for path in files() - before if "core" in path.name], [])
        serving = processes.wait_until(lambda: [pid for pid, name in processes.children_of(self.weir.process.pid).items()
                                                if name == "weir-serving"], what="the next serving process")
        processes.wait_until(lambda: f"serving process {serving[0]} is ready" in self.weir.output_text())
        self.assertEqual(field(serving[0], "Seccomp"), "2")
        self.push()


class HooksTest(HardeningTestCase):
    def test_a_hook_has_no_network(self):
        output = self.connects()
        self.assertNotIn("connected", output)
        self.assertIn("PermissionError", output)
        output = self.tried("python3 -c 'import socket\nfor family in (socket.AF_INET6, socket.AF_NETLINK, "
                            "socket.AF_PACKET):\n try: socket.socket(family, socket.SOCK_RAW)\n"
                            " except OSError as error: print(error.errno)\n"
                            "a, b = socket.socketpair(); socket.socket(socket.AF_UNIX); print(\"local\")'")
        self.assertEqual(output.split(), ["13", "13", "13", "local"])

    def test_a_hook_writes_its_repository_and_temporary_files_only(self):
        if self.landlock == 0:
            self.skipTest("this kernel has no Landlock")
        other = self.weir.make_repository("acme/other.git")
        output = self.tried(f"""
            try() {{ sh -c "$1" 2>/dev/null && echo "done: $2"; }}
            try 'echo x > note' own
            try 'file=$(mktemp) && echo x > $file && rm $file' temporary
            try 'cat {self.weir.root}/acme/other.git/HEAD > /dev/null' 'read other'
            try 'echo x > {self.outside}/new' outside
            try 'cat {self.outside}/file' 'read outside'
            try 'echo x > {other}/new' other
            try 'rm {other}/HEAD' other
            try 'echo x > {self.weir.root}/acme/new' root
            try 'echo x >> {self.weir.state}/tokens' state
            try 'cat {self.weir.state}/key.pem' key
            try 'cat {self.weir.state}/tokens' tokens
            try 'ls {self.weir.state}' state
            try ': < /proc/{self.weir.process.pid}/mem' memory
            exit 0
            """)
        self.assertEqual(output, "done: own\ndone: temporary\ndone: read other")
        self.assertEqual((self.outside / "file").read_text(), "content\n")
        fsck(other)

    def test_a_hook_cannot_signal_the_server(self):
        if self.landlock < LANDLOCK_SIGNALS:
            self.skipTest("Landlock of this kernel does not know signals")
        serving = self.status()["serving_pid"]
        output = self.tried(f"kill -KILL {serving} || echo no; kill -TERM {self.weir.process.pid} || echo no; exit 0")
        self.assertEqual([line for line in output.splitlines() if line == "no"], ["no", "no"])
        self.assertEqual(self.status()["serving_pid"], serving)

    def test_what_git_and_hooks_do_every_day_works(self):
        base = self.weir.make_repository("acme/base.git")
        git("push", "-q", base, "main", cwd=self.work)
        (self.served / "objects/info").mkdir(exist_ok=True)
        (self.served / "objects/info/alternates").write_text(f"{base}/objects\n")
        self.hook("pre-receive", "while read old new ref; do git rev-list --count $new; git diff-tree $new | "
                                 "sort | sed 's/^/changed /'; done")
        self.hook("update", "echo update $1; git cat-file -e $3")
        self.hook("post-receive", "while read old new ref; do git update-ref refs/seen/x $new; done; git gc --quiet; "
                                  "git repack -adq; awk 'BEGIN { print \"gathered\" | \"cat\" }'")
        tip = commit(self.work, "everyday.txt", "everyday\n")
        pushed = self.push()
        self.assertIn("remote: gathered", pushed.err)
        self.assertIn("remote: update refs/heads/main", pushed.err)
        self.assertEqual(git("rev-parse", "refs/seen/x", cwd=self.served).out.strip(), tip)
        fsck(self.served)
        with tempfile.TemporaryDirectory() as scratch:
            clone = pathlib.Path(scratch) / "clone"
            self.weir.git("clone", "-q", self.url, clone)
            self.assertEqual(git("rev-parse", "HEAD", cwd=clone).out.strip(), tip)
            fsck(clone)

    def test_a_push_into_a_checked_out_branch_updates_its_work_tree(self):
        tree = self.weir.root / "acme/tree"
        git("clone", "-q", self.work, tree)
        git("config", "receive.denyCurrentBranch", "updateInstead", cwd=tree)
        commit(self.work, "in_tree.txt", "in tree\n")
        self.weir.git("push", "-q", self.weir.url("acme/tree", self.token), "main", cwd=self.work)
        self.assertEqual((tree / "in_tree.txt").read_text(), "in tree\n")


class OpenedTest(HardeningTestCase):
    sandbox = '[sandbox]\nhooks_network = true\nhooks_write_paths = ["{outside}"]\nread_paths = ["{outside}"]\n'

    def test_hooks_do_what_the_configuration_allows(self):
        self.assertIn("connected", self.connects())
        self.assertEqual(self.tried(f"cat {self.outside}/file; echo changed > {self.outside}/new"), "content")
        self.assertEqual((self.outside / "new").read_text(), "changed\n")
        if self.landlock:
            self.assertIn("Permission denied", self.tried(f"cat {self.weir.state}/key.pem || exit 0"))

    def test_alternates_outside_of_the_root_are_read(self):
        base = self.outside / "base.git"
        git("clone", "-q", "--bare", self.work, base)
        (self.served / "objects/info").mkdir(exist_ok=True)
        (self.served / "objects/info/alternates").write_text(f"{base}/objects\n")
        tip = git("rev-parse", "main", cwd=self.work).out.strip()
        git("update-ref", "refs/heads/main", tip, cwd=self.served)
        with tempfile.TemporaryDirectory() as scratch:
            self.weir.git("clone", "-q", self.url, f"{scratch}/clone")
            fsck(f"{scratch}/clone")

    def test_check_names_what_is_wrong(self):
        bad = self.outside / "weir.toml"
        bad.write_text(self.weir.config_path.read_text().replace(f'["{self.outside}"]', '["/nonexistent/x"]')
                       .replace("hooks_network = true", 'hooks_network = "all"'))
        checked = subprocess.run([BINARY, "check", "--config", bad, "--root", self.weir.root, "--state", self.weir.state],
                                 capture_output=True, text=True)
        self.assertNotEqual(checked.returncode, 0)
        self.assertIn("sandbox.hooks_network: true or false expected", checked.stderr)
        bad.write_text(bad.read_text().replace('hooks_network = "all"', ""))
        checked = subprocess.run([BINARY, "check", "--config", bad, "--root", self.weir.root, "--state", self.weir.state],
                                 capture_output=True, text=True)
        self.assertIn("sandbox.read_paths: /nonexistent/x: No such file", checked.stderr)
        self.assertIn("sandbox.hooks_write_paths: /nonexistent/x: No such file", checked.stderr)


if __name__ == "__main__":
    unittest.main()
