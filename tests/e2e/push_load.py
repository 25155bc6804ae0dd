"""Real git clients that push, fetch and clone for as long as a test disturbs the server, and remember what
they were told. Load.check() then compares the served repositories with that: nothing acknowledged may be
lost, nothing torn, nothing left behind.
"""
import os
import random
import shutil
import threading

from processes import children_of, command_line, descendants_of, wait_until
from weir_server import commit, fsck, git, make_work_tree

REPOSITORIES = ["acme/one.git", "acme/two.git"]
# How long a dead push may leave its record behind: two rounds of the server's sweep.
SETTLED_SECONDS = 25
VERSIONS = ["HTTP/1.1", "HTTP/2"]


class Client(threading.Thread):
    def __init__(self, load):
        super().__init__(daemon=True)
        self.load = load
        self.done = self.failed = 0
        self.problems = []  # what must not happen
        self.complaints = []  # what the clients of failed requests saw

    def run(self):
        try:
            while not self.load.stopping.is_set():
                self.act()
                self.load.stopping.wait(self.load.pause_seconds)
        except Exception as error:  # pylint: disable=broad-except
            self.problems.append(repr(error))

    def count(self, result):
        if result.returncode == 0:
            self.done += 1
            return True
        self.failed += 1
        self.complaints.append(result.err)
        return False


class Pusher(Client):
    """Pushes new commits to refs of its own and to one that others push to as well."""

    def __init__(self, load, number):
        super().__init__(load)
        self.number = number
        self.repository = REPOSITORIES[number % len(REPOSITORIES)]
        self.work = load.folder / f"pusher{number}"
        git("clone", "-q", load.work, self.work)
        self.random = random.Random(f"{load.seed} pusher {number}")
        self.acknowledged = {}  # own ref -> tip
        self.unsure = {}        # own ref -> tips of later pushes whose outcome was not told
        self.shared = []        # tips acknowledged on the contended ref
        self.commits = self.reads = 0

    def url(self):
        return self.load.weir.url(self.repository, self.load.token)

    def git(self, *arguments, check=False):
        return self.load.weir.git(*arguments, cwd=self.work, check=check,
                                  http=self.random.choice(VERSIONS))

    def new_commit(self, parent):
        self.commits += 1
        tree = git("rev-parse", f"{parent}^{{tree}}", cwd=self.work).out.strip()
        return git("commit-tree", "-p", parent, "-m", f"push {self.number} {self.commits}", tree,
                   cwd=self.work).out.strip()

    def act(self):
        if self.random.random() < 0.7:
            self.push_own()
        else:
            self.push_shared()

    def push_own(self):
        ref = f"refs/heads/own/{self.number}/{self.random.randrange(4)}"
        tip = self.new_commit("main")
        if not self.count(self.git("push", "-q", self.url(), f"+{tip}:{ref}")):
            self.unsure.setdefault(ref, []).append(tip)
            return
        self.acknowledged[ref] = tip
        self.unsure[ref] = []
        if self.random.random() < 0.3:  # what was acknowledged is seen by the next reader
            seen = self.git("ls-remote", self.url(), ref)
            if seen.returncode == 0:
                self.reads += 1
                if seen.out.split() != [tip, ref]:
                    self.problems.append(f"{ref} is {seen.out!r}, acknowledged was {tip}")

    def push_shared(self):
        seen = self.git("fetch", "-q", self.url(), "+refs/heads/shared:refs/seen/shared")
        if not self.count(seen):
            return
        tip = self.new_commit("refs/seen/shared")
        result = self.git("push", "-q", self.url(), f"{tip}:refs/heads/shared")
        if result.returncode == 0:
            self.done += 1
            self.shared.append(tip)  # else others were faster, or it was disturbed


class Cloner(Client):
    def __init__(self, load):
        super().__init__(load)
        self.number = 0

    def act(self):
        self.number += 1
        target = self.load.folder / f"clone{self.number}"
        url = self.load.weir.url(REPOSITORIES[self.number % len(REPOSITORIES)])
        if self.count(self.load.weir.git("clone", "-q", "--bare", url, target, check=False,
                                         http=VERSIONS[self.number // 2 % 2])):
            checked = git("fsck", "--strict", "--no-dangling", cwd=target, check=False)
            if checked.returncode != 0:
                self.problems.append(checked.err)
        shutil.rmtree(target, ignore_errors=True)


class Load:
    def __init__(self, weir, token, folder, seed=0, pushers=4, pause_seconds=0):
        self.weir, self.token, self.folder, self.seed = weir, token, folder, seed
        self.pause_seconds = pause_seconds  # of each client, between its acts
        self.stopping = threading.Event()
        self.work = make_work_tree(folder / "work")
        commit(self.work, "large", os.urandom(3_000_000))
        self.served = {}
        for name in REPOSITORIES:
            shutil.rmtree(weir.root / name, ignore_errors=True)
            self.served[name] = weir.make_repository(name)
            git("push", "-q", self.served[name], "main", "main:refs/heads/shared", cwd=self.work)
        self.pushers = [Pusher(self, number) for number in range(pushers)]
        self.cloner = Cloner(self)

    def __enter__(self):
        for client in [*self.pushers, self.cloner]:
            client.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for client in [*self.pushers, self.cloner]:
            client.join(120)
            assert not client.is_alive(), "a client hangs"

    def acknowledged(self):
        return sum(pusher.done for pusher in self.pushers)

    def summary(self):
        failed = sum(pusher.failed for pusher in self.pushers)
        reads = sum(pusher.reads for pusher in self.pushers)
        return (f"{self.acknowledged()} pushes and fetches ({failed} failed), {reads} reads of "
                f"acknowledged refs, {self.cloner.done} clones ({self.cloner.failed} failed)")

    def git_processes(self):
        below = descendants_of(self.weir.process.pid)
        return [pid for pid, name in below.items()
                if name.startswith("git") and "git-worker" not in command_line(pid)]

    def at_rest(self):
        names = sorted(children_of(self.weir.process.pid).values())
        return names == ["weir-launcher", "weir-serving"] and not self.git_processes()

    def processes(self):
        return {pid: " ".join(command_line(pid))
                for pid in descendants_of(self.weir.process.pid)}

    def leftovers(self):
        return [str(path) for served in self.served.values() for path in served.rglob("*")
                if path.name.endswith(".lock") or "tmp_objdir" in path.name]

    def journal(self):
        return os.listdir(self.weir.state / "pushes")

    def check(self):
        """After __exit__, with the server running undisturbed."""
        for client in [*self.pushers, self.cloner]:
            assert not client.problems, client.problems
        wait_until(self.at_rest, 30, self.processes)
        for pusher in self.pushers:
            served = self.served[pusher.repository]
            for ref in sorted(set(pusher.acknowledged) | set(pusher.unsure)):
                tip = git("rev-parse", "--verify", "-q", ref, cwd=served, check=False).out.strip()
                told = [pusher.acknowledged.get(ref, ""), *pusher.unsure.get(ref, [])]
                assert tip in told, f"{ref} is {tip}, an acknowledged push is lost: {told}"
                # The next push to each ref succeeds by itself, at once.
                tip = pusher.new_commit("main")
                pusher.git("push", "-q", pusher.url(), f"+{tip}:{ref}", check=True)
            for tip in pusher.shared:
                git("merge-base", "--is-ancestor", tip, "refs/heads/shared", cwd=served)
        for served in self.served.values():
            fsck(served)
        wait_until(lambda: not self.leftovers(), SETTLED_SECONDS, self.leftovers)
        wait_until(lambda: not self.journal(), SETTLED_SECONDS, self.journal)
        wait_until(self.at_rest, 30, self.processes)
