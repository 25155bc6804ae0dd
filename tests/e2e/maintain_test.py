"""`weir maintain`: what it says, what it does, and that nothing is ever lost by it: beside traffic, killed
at any moment, with objects that no ref reaches.
"""
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from processes import descendants_of, wait_until
from weir_server import BINARY, Weir, commit, fsck, git

DAY_SECONDS = 86_400
TEMPORARY = ("tmp_*", ".tmp-*")


def fill(repository, seed, commits=120, branch="main", files=4, lines=20):
    """A history of `commits` on a branch, as one pack; each changes some files of 40."""
    choice = random.Random(seed)
    parts = []
    had = git("rev-parse", "-q", "--verify", f"refs/heads/{branch}", cwd=repository, check=False)
    start = 1_600_000_000 + int(git("rev-list", "--count", "--all", cwd=repository).out)
    for number in range(commits):
        parts.append(f"commit refs/heads/{branch}\ncommitter a <a@b> {start + number} +0000\n"
                     f"data 1\nm\n")
        if number == 0 and had.returncode == 0:
            parts.append(f"from refs/heads/{branch}^0\n")
        for file in choice.sample(range(40), files):
            text = "".join(f"{choice.getrandbits(64):x} {line}\n" for line in range(lines))
            parts.append(f"M 100644 inline dir{file % 5}/file{file}\n"
                         f"data {len(text)}\n{text}\n")
    git("-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", cwd=repository,
        input="".join(parts).encode())


def reachable(repository):
    return sorted(git("rev-list", "--objects", "--no-object-names", "--all",
                      cwd=repository).out.split())


def loose(repository, text, age_seconds=0):
    name = git("hash-object", "-w", "--stdin", cwd=repository, input=text.encode()).out.strip()
    made = time.time() - age_seconds
    os.utime(pathlib.Path(repository) / "objects" / name[:2] / name[2:], (made, made))
    return name


def has(repository, name):
    return git("cat-file", "-e", name, cwd=repository, check=False).returncode == 0


def packs(repository, pattern="*.pack"):
    return sorted((pathlib.Path(repository) / "objects/pack").glob(pattern))


def want_core(repository):
    """Without the note of its core pack, a core pack is due."""
    (pathlib.Path(repository) / "objects/info/weir-core").unlink(missing_ok=True)


class MaintainCase(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-maintain-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.root = self.folder / "repos"

    def make(self, name="acme/site.git", *arguments):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        git("init", "-q", "--bare", "--initial-branch=main", *arguments, path)
        return path

    def command(self, *arguments):
        return [BINARY, "maintain", "--root", self.root, *arguments]

    def maintain(self, *arguments, status=0):
        result = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result.stdout + result.stderr

    def assert_whole(self, repository, before):
        fsck(repository)
        self.assertEqual(reachable(repository), before)


class MaintainTest(MaintainCase):
    def test_says_why_a_clone_is_slow_and_mends_it(self):
        for object_format in ("sha1", "sha256"):
            with self.subTest(object_format):
                name = f"acme/{object_format}.git"
                path = self.make(name, f"--object-format={object_format}")
                fill(path, 1)
                fill(path, 2, commits=10, branch="side")
                before = reachable(path)
                files = packs(path, "*")
                said = self.maintain(name, "--dry-run")
                for part in ("slow: no bitmap", "slow: no pack is laid out", "due: core", "due: commit-graph"):
                    self.assertIn(part, said)
                self.assertEqual(packs(path, "*"), files, "a dry run changes nothing")

                said = self.maintain(name)
                self.assertRegex(said, r"core \(.*\): done in [0-9.]+ s, [0-9.]+ \w+ -> [0-9.]+ \w+")
                self.assert_whole(path, before)
                self.assertEqual(len(packs(path)), 1)
                self.assertEqual(len(packs(path, "*.bitmap")), 1)
                self.assertEqual(len(packs(path, "*.rev")), 1)
                git("rev-list", "--test-bitmap", "main", cwd=path)
                git("commit-graph", "verify", cwd=path)
                self.assertFalse((path / "gc.pid").exists())

                said = self.maintain(name)
                self.assertIn("nothing is due", said)
                self.assertNotIn("slow:", said)

    def test_the_default_branch_lies_first_in_the_core_pack_and_needs_nothing_else(self):
        path = self.make()
        fill(path, 1)
        fill(path, 2, branch="other")
        git("update-ref", "refs/heads/ma.n", "other", cwd=path)  # no regular expression of its name matches main
        self.maintain()
        listed = git("verify-pack", "-v", packs(path, "*.idx")[0], cwd=path).out.splitlines()
        entries = [line.split() for line in listed if len(line.split()) in (5, 7) and len(line.split()[0]) == 40]
        ids = [entry[0] for entry in sorted(entries, key=lambda entry: int(entry[4]))]
        core = set(git("rev-list", "--objects", "--no-object-names", "main", cwd=path).out.split())
        self.assertLess(len(core), len(ids))
        self.assertEqual(set(ids[:len(core)]), core)
        bases = {entry[0]: entry[6] for entry in entries if len(entry) == 7}
        self.assertEqual([name for name in core if name in bases and bases[name] not in core], [])

    def test_pushes_are_rolled_up_beside_the_core_pack(self):
        path = self.make()
        fill(path, 1, commits=200)
        self.maintain()
        core = packs(path)
        for number in range(8):
            fill(path, 10 + number, commits=3)
        before = reachable(path)
        said = self.maintain()
        self.assertIn("roll-up (8 packs that no bitmap knows): done", said)
        self.assert_whole(path, before)
        self.assertIn(core[0], packs(path), "the core pack stays")
        self.assertLessEqual(len(packs(path)), 3)
        self.assertEqual(len(packs(path, "multi-pack-index-*.bitmap")), 1)
        git("rev-list", "--test-bitmap", "main", cwd=path)
        git("multi-pack-index", "verify", cwd=path)
        git("commit-graph", "verify", cwd=path)
        self.assertIn("nothing is due", self.maintain())

        want_core(path)
        self.assertIn("core (no core pack is laid out for clones): done", self.maintain())
        self.assertEqual(packs(path, "multi-pack-index*"), [])
        self.assert_whole(path, before)

    def test_goes_through_all_repositories_and_names_those_that_are_not_there(self):
        names = ["acme/a.git", "acme/deep/er/b.git", "other/c.git"]
        for name in names:
            fill(self.make(name), name)
        (self.root / "acme/not-one").mkdir()
        said = self.maintain()
        for name in names:
            self.assertIn(f"{name}: ", said)
            self.assertEqual(len(packs(self.root / name, "*.bitmap")), 1)
        self.assertIn("no git repository of that name", self.maintain("acme/none", status=1))
        self.assertIn("nothing is due", self.maintain("acme/a"))

    def test_what_stands_against_it_is_said(self):
        path = self.make()
        fill(path, 1)
        files = packs(path, "*")
        git("config", "core.repositoryFormatVersion", "1", cwd=path)
        git("config", "extensions.preciousObjects", "true", cwd=path)
        self.assertIn("skipped: extensions.preciousObjects", self.maintain())
        git("config", "--unset", "extensions.preciousObjects", cwd=path)
        (path / "gc.pid").write_text(f"{os.getpid()} {socket.gethostname()}")
        self.assertIn("skipped: git gc", self.maintain())
        self.assertEqual(packs(path, "*"), files)
        (path / "gc.pid").unlink()
        self.assertIn("core (", self.maintain())

    def test_a_failing_step_is_told_and_loses_nothing(self):
        path = self.make()
        fill(path, 1)
        before = reachable(path)
        git("update-ref", "refs/heads/second", "main", cwd=path)
        victim = git("rev-parse", "main:dir1", cwd=path).out.strip()
        loose(path, "something")
        git("repack", "-q", "-ad", cwd=path)
        git("config", "pack.compression", "77", cwd=path)  # git refuses to pack
        said = self.maintain(status=1)
        self.assertRegex(said, "core .*: failed: .*compression level 77")
        git("config", "--unset", "pack.compression", cwd=path)
        self.assertTrue(has(path, victim))
        self.assert_whole(path, before)


class UnreachableTest(MaintainCase):
    """Objects that no ref reaches: a push under way or cut off may still need them."""

    def old_and_young(self, path):
        return (loose(path, "old", 15 * DAY_SECONDS), loose(path, "young", 13 * DAY_SECONDS))

    def test_younger_than_fourteen_days_survive_and_older_go(self):
        for number, told in enumerate([None, "now", "1.day.ago"]):  # not for the repository to decide
            with self.subTest(told):
                path = self.make(f"acme/{number}.git")
                fill(path, 1)
                if told:
                    git("config", "gc.pruneExpire", told, cwd=path)
                old, young = self.old_and_young(path)
                before = reachable(path)
                self.maintain()
                self.assertFalse(has(path, old))
                self.assertTrue(has(path, young))
                self.assert_whole(path, before)

                # In the cruft pack its age counts on from when it was made.
                want_core(path)
                self.maintain()
                self.assertTrue(has(path, young))

    def test_a_branch_that_was_deleted_can_be_had_again(self):
        path = self.make()
        fill(path, 1)
        fill(path, 2, branch="gone")
        before, tip = reachable(path), git("rev-parse", "gone", cwd=path).out.strip()
        git("update-ref", "-d", "refs/heads/gone", cwd=path)
        self.maintain()
        self.assertEqual(len(packs(path, "*.mtimes")), 1)
        for number in range(8):
            fill(path, 10 + number, commits=1, branch=f"later{number}")
        self.maintain()
        git("update-ref", "refs/heads/gone", tip, cwd=path)
        self.assertLessEqual(set(before), set(reachable(path)))
        fsck(path)

    def test_what_is_young_keeps_what_it_needs(self):
        path = self.make()
        fill(path, 1)
        old = loose(path, "old", 20 * DAY_SECONDS)
        tree = git("mktree", cwd=path, input=f"100644 blob {old}\tfile\n".encode()).out.strip()
        self.maintain()
        self.assertTrue(has(path, tree) and has(path, old))

    def test_never_means_never(self):
        path = self.make()
        fill(path, 1)
        git("config", "gc.pruneExpire", "never", cwd=path)
        old, young = self.old_and_young(path)
        self.maintain()
        self.assertTrue(has(path, old) and has(path, young))

    def test_what_another_repository_borrows_from_loses_nothing(self):
        path = self.make()
        fill(path, 1)
        old, _ = self.old_and_young(path)
        fork = self.make("other/fork.git")
        (fork / "objects/info/alternates").write_text("../../../acme/site.git/objects\n")
        git("update-ref", "refs/tags/kept", old, cwd=fork)
        fill(fork, 2)
        self.maintain()
        self.assertTrue(has(path, old))
        fsck(fork)
        self.assertEqual(packs(fork, "*.bitmap"), [])
        borrowed = git("rev-parse", "main", cwd=path).out.strip()
        self.assertTrue(has(fork, borrowed))


class KillTest(MaintainCase):
    ROUNDS = int(os.environ.get("WEIR_MAINTAIN_KILLS", "6"))

    def kill_when(self, path, condition, with_children):
        """Starts a maintenance and kills it as soon as the condition holds; it may end before."""
        process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: process.poll() is not None or condition(), 60)
            victims = list(descendants_of(process.pid)) if with_children else []
            process.kill()
            for victim in victims:
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        finally:
            process.kill()
            process.wait()

    def test_killed_at_any_moment_it_loses_nothing_and_the_next_run_cleans_up(self):
        path = self.make()
        fill(path, 1, commits=400, lines=60)
        for number in range(4):
            fill(path, 20 + number, commits=5, branch=f"side{number}")
        young = loose(path, "young", 13 * DAY_SECONDS)
        before = reachable(path)
        moments = [
            lambda: (path / "gc.pid").exists(),
            lambda: packs(path, "tmp_pack_*"),
            lambda: packs(path, ".tmp-*"),
            lambda: packs(path, ".tmp-*.idx"),
            lambda: packs(path, "*.bitmap"),
            lambda: packs(path, "*.mtimes"),
        ]
        for number in range(self.ROUNDS):
            want_core(path)
            for file in packs(path, "*.bitmap"):
                file.unlink()
            self.kill_when(path, moments[number % len(moments)], with_children=number % 2 == 0)
            self.assert_whole(path, before)
        # What a killed one left running may take a moment to end.
        wait_until(lambda: "skipped" not in self.maintain(), 60)
        self.assertEqual([packs(path, pattern) for pattern in TEMPORARY], [[], []])
        self.assertFalse((path / "gc.pid").exists())
        self.assertTrue(has(path, young))
        self.assert_whole(path, before)
        self.assertIn("nothing is due", self.maintain())


class LayoutTest(unittest.TestCase):
    def test_the_admin_socket_says_why_a_clone_is_slow(self):
        with Weir() as weir:
            path = weir.make_repository("acme/deep/my site.git")
            fill(path, 1)
            def ask(name):
                return weir.admin(f"/v1/repositories/{name}/layout", weir.state / "admin.sock")
            status, text = ask("acme/deep/my%20site")
            self.assertEqual(status, 200, text)
            told = json.loads(text)
            self.assertEqual([due["step"] for due in told["due"]], ["core", "commit-graph"])
            self.assertIn("no bitmap", told["slowed_by"][0])
            subprocess.run([BINARY, "maintain", "--root", weir.root], check=True, capture_output=True)
            told = json.loads(ask("acme/deep/my%20site.git")[1])
            self.assertEqual((told["due"], told["slowed_by"]), ([], []))
            self.assertEqual(told["core_objects"], told["packed_objects"])
            for name in ("acme/none", "acme/deep", "acme", "acme/%2e%2e/acme/deep/my%20site", "acme/..%2f..%2fetc"):
                self.assertEqual(ask(name)[0], 404, name)


class BackgroundTest(unittest.TestCase):
    def served(self, weir, name):
        """Makes a repository and pushes a history to it."""
        path = weir.make_repository(name)
        token = weir.add_token()
        weir.reload()
        with tempfile.TemporaryDirectory(prefix="weir-maintain-") as folder:
            source = pathlib.Path(folder) / "source.git"
            git("init", "-q", "--bare", "--initial-branch=main", source)
            fill(source, 1)
            weir.git("push", "-q", weir.url(name, token), "main", cwd=source)
        return path

    def test_what_was_pushed_to_is_maintained_when_it_rests(self):
        with Weir(config="[maintenance]\nquiet_s = 1\n") as weir:
            path = self.served(weir, "acme/site.git")
            wait_until(lambda: "maintenance of acme/site.git: " in weir.log_text(), 60, what=weir.log_text)
            shown = weir.admin("/metrics")[1].splitlines()
            for step in ("core", "commit-graph"):
                self.assertIn(f'weir_maintenance_runs_total{{step="{step}",result="done"}} 1', shown)
            self.assertEqual(len(packs(path, "*.bitmap")), 1)
            self.assertFalse((path / "gc.pid").exists())
            fsck(path)
            weir.git("ls-remote", weir.url("acme/site.git"))

    def test_a_held_repository_is_left_alone(self):
        with Weir(config="[maintenance]\nquiet_s = 1\n") as weir:
            path = weir.make_repository("acme/site.git")
            (path / "gc.pid").write_text(f"{os.getpid()} {socket.gethostname()}")
            self.served(weir, "acme/site.git")
            wait_until(lambda: "maintenance of acme/site.git: none skipped;git gc or another maintenance runs there" in
                       weir.log_text(), 60, what=weir.log_text)
            self.assertEqual(packs(path, "*.bitmap"), [])


class BackgroundEndTest(MaintainCase):
    def test_a_server_that_drains_does_not_wait_for_it(self):
        slow = self.folder / "bin/git"
        slow.parent.mkdir()
        slow.write_text('#!/bin/sh\ncase "$*" in *repack*) exec sleep 600;; esac\nexec /usr/bin/git "$@"\n')
        slow.chmod(0o755)
        with Weir(config=f'[maintenance]\nquiet_s = 1\n[git]\ngit_path = "{slow}"\n') as weir:
            path = BackgroundTest.served(self, weir, "acme/site.git")
            def sleeps():
                return [pid for pid, name in descendants_of(weir.process.pid).items() if name == "sleep"]
            wait_until(sleeps, 60, what=weir.log_text)
            left = sleeps()
            weir.stop()
            wait_until(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in left), 10)
            self.root = weir.root
            self.assertIn("core (", self.maintain())
            fsck(path)


class BesideTrafficTest(unittest.TestCase):
    SECONDS = 60  # at most, for all that must happen

    def test_clones_and_pushes_go_on_while_it_works(self):
        with Weir() as weir:
            path = weir.make_repository("acme/site.git")
            fill(path, 1)
            token = weir.add_token()
            weir.reload()
            folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-maintain-"))
            self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
            stopping = threading.Event()
            problems, pushed, cloned = [], {}, [0]

            def push(number):
                work = folder / f"work{number}"
                git("clone", "-q", path, work)
                git("checkout", "-q", "-b", f"own{number}", cwd=work)
                for count in range(1_000):
                    if stopping.is_set():
                        return
                    # By turns few objects, which stay loose, and many, which stay a pack.
                    for file in range(120 if count % 2 else 1):
                        (work / f"new{file}").write_text(f"{number} {count} {file}\n")
                    tip = commit(work, "last.txt", f"{number} {count}\n")
                    told = weir.git("push", "-q", weir.url("acme/site.git", token), f"own{number}",
                                    cwd=work, check=False)
                    if told.returncode != 0:
                        problems.append(told.err)
                        return
                    pushed[f"refs/heads/own{number}"] = tip

            def clone():
                while not stopping.is_set():
                    target = folder / "clone"
                    told = weir.git("clone", "-q", "--bare", weir.url("acme/site.git"), target, check=False)
                    told = told if told.returncode else git("fsck", "--strict", cwd=target, check=False)
                    if told.returncode != 0:
                        problems.append(told.err)
                        return
                    cloned[0] += 1
                    shutil.rmtree(target)

            threads = [threading.Thread(target=push, args=(number,)) for number in range(2)]
            threads.append(threading.Thread(target=clone))
            for thread in threads:
                thread.start()
            runs, deadline = 0, time.monotonic() + self.SECONDS
            try:
                while not problems and (runs < 8 or cloned[0] < 5 or len(pushed) < 2):
                    self.assertLess(time.monotonic(), deadline, f"{runs} runs, {cloned[0]} clones")
                    if runs % 2 == 0:
                        want_core(path)
                    told = subprocess.run([BINARY, "maintain", "--root", weir.root, "acme/site"],
                                          capture_output=True, text=True, timeout=60)
                    self.assertEqual(told.returncode, 0, told.stdout + told.stderr)
                    runs += 1
            finally:
                stopping.set()
                for thread in threads:
                    thread.join()
            self.assertEqual(problems, [])
            fsck(path)
            for ref, tip in pushed.items():
                self.assertEqual(git("rev-parse", ref, cwd=path).out.strip(), tip)
            weir.git("clone", "-q", "--mirror", weir.url("acme/site.git"), folder / "last")
            fsck(folder / "last")


if __name__ == "__main__":
    unittest.main()
