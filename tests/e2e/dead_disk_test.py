"""Goal: a disk that dies under one repository or under the state folder, and memory that a child does not get,
are told to the one request in words; others go on; when the disk is back, so is everything, by itself.
Method: the server linked to tests/faults, and git started with it, so that chosen file calls on chosen paths
fail while everything runs. Memory is taken away by limits of the kernel.
"""
import os
import resource
import shutil
import unittest

from exhaustion_test import ExhaustionCase
from processes import command_line, descendants_of, wait_until
from weir_server import BINARY, commit, fsck, git

FAULTS = BINARY.parents[1] / "tests" / "faults"
EIO = 5
MIB = 1024 * 1024
VERSIONS = ["HTTP/1.1", "HTTP/2"]


class FaultCase(ExhaustionCase):
    planners = 1

    def setUp(self):
        super().setUp()
        folder = self.weir.folder / "faulty"
        folder.mkdir()
        for name in ("weir_faulty", "libweir_faults.so"):
            shutil.copy(FAULTS / name, folder / name)
        self.weir.binary = folder / "weir_faulty"
        self.rules = folder / "faults"
        self.no_memory = folder / "no-memory"  # holds KiB
        wrapper = folder / "git"
        # It is git for the repository acme/r.git that lacks memory.
        wrapper.write_text(f'#!/bin/sh\ncase "$*" in *acme/r.git*) test -e {self.no_memory} && '
                           f'ulimit -v $(cat {self.no_memory});; esac\n'
                           f'LD_PRELOAD={folder}/libweir_faults.so exec /usr/bin/git "$@"\n')
        wrapper.chmod(0o755)
        self.weir.extra_config = (f'[git]\ngit_path = "{wrapper}"\nplanners = {self.planners}\n'
                                  f'[sandbox]\nread_paths = ["{folder}"]\n')
        self.weir.write_config()
        self.serve()
        self.other = self.weir.make_repository("acme/other.git")
        git("push", "-q", self.other, "main", cwd=self.work)
        self.weir.start()
        self.addCleanup(self.heal)
        self.began_as = self.serving()
        self.clones = 0

    def die(self, *rules):
        """rules: (operation, part of a path)"""
        fresh = self.rules.with_suffix(".new")
        fresh.write_text("".join(f"{operation} {EIO} {path}\n" for operation, path in rules))
        fresh.rename(self.rules)

    def heal(self):
        self.rules.unlink(missing_ok=True)
        self.no_memory.unlink(missing_ok=True)

    def clone(self, name="acme/r.git", http="HTTP/2", protocol=2):
        self.clones += 1
        return self.weir.git("clone", "-q", "--bare", self.weir.url(name), self.scratch / f"c{self.clones}",
                             http=http, protocol=protocol, check=False)

    def assert_told(self, result, words):
        self.assertNotEqual(result.returncode, 0)
        self.assertRegex(result.err, words)

    def assert_others_served(self):
        got = self.clone("acme/other.git")
        self.assertEqual(got.returncode, 0, got.err)
        number = self.clones
        pushed = self.weir.git("push", self.weir.url("acme/other.git", self.token),
                               f"main:refs/heads/also{number}", cwd=self.work, check=False)
        self.assertEqual(pushed.returncode, 0, pushed.err)

    def assert_all_well(self):
        """After heal(): without a restart."""
        for http in VERSIONS:
            got = self.clone(http=http)
            self.assertEqual(got.returncode, 0, got.err)
        tip = commit(self.work, "after", os.urandom(100))
        pushed = self.push(f"after-{tip[:8]}", tip)
        self.assertEqual(pushed.returncode, 0, pushed.err)
        wait_until(lambda: not self.leftovers(), 25, self.leftovers)
        fsck(self.served)
        self.assertEqual(self.serving(), self.began_as, "the serving process was replaced")


class DeadObjectsTest(FaultCase):
    def test_fetches_say_that_something_is_wrong_and_others_go_on(self):
        for operation in ("read", "open"):
            self.die((operation, "/acme/r.git/objects/"))
            for http, protocol in zip(VERSIONS, (0, 2)):
                self.assert_told(self.clone(http=http, protocol=protocol),
                                 r"remote: .*weir: .*request|remote error: .*weir")
            self.assert_others_served()
            self.heal()
        self.assert_all_well()

    def test_pushes_are_refused_and_nothing_is_changed(self):
        before = git("for-each-ref", cwd=self.served).out
        for operation in ("write", "sync", "change"):
            self.die((operation, "/acme/r.git/objects/"))
            for http in VERSIONS:
                tip = commit(self.work, "blob", os.urandom(100_000))
                pushed = self.weir.git("push", self.url, f"{tip}:refs/heads/new", cwd=self.work,
                                       http=http, check=False)
                self.assert_told(pushed, r"rejected|unpack|Input/output error")
            self.assertEqual(git("for-each-ref", cwd=self.served).out, before)
            self.assert_others_served()
            self.heal()
        self.assert_all_well()


class DeadRefsTest(FaultCase):
    def move(self):
        """A ref moves behind the server's back, so that it must read."""
        tip = git("rev-parse", "main", cwd=self.served).out.strip()
        git("update-ref", f"refs/heads/moved{self.clones}", tip, cwd=self.served)

    def test_refs_that_cannot_be_read_are_an_error_and_never_an_empty_list(self):
        git("pack-refs", "--all", cwd=self.served)
        for rule in (("read", "/acme/r.git/packed-refs"), ("open", "/acme/r.git/packed-refs"),
                     ("open", "/acme/r.git/refs"), ("read", "/acme/r.git/refs/heads/moved"),
                     ("read", "/acme/r.git/HEAD"), ("open", "/acme/r.git/shallow")):
            with self.subTest(rule=rule):
                self.clones += 1
                self.move()
                self.die(rule)
                for http, protocol in zip(VERSIONS, (0, 2)):
                    listed = self.weir.git("ls-remote", self.weir.url("acme/r.git"), http=http,
                                           protocol=protocol, check=False)
                    self.assert_told(listed, r"remote: weir: .*request")
                    self.assertEqual(listed.out, "")
                self.assert_others_served()
                self.heal()
                self.assertEqual(self.ls_remote().returncode, 0)
        self.assert_all_well()

    def test_a_ref_that_cannot_be_written_is_refused(self):
        for operation in ("write", "change", "open"):
            self.die((operation, "/acme/r.git/refs/heads/new"))
            with self.subTest(operation=operation):
                self.assert_told(self.push("new"), r"rejected|failed|error")
            self.assert_others_served()
            self.heal()
            self.assertEqual(git("rev-parse", "-q", "--verify", "refs/heads/new", cwd=self.served,
                                 check=False).out, "")
        self.assert_all_well()

    def test_a_push_whose_sync_fails_is_not_acknowledged(self):
        # The last sync is of the repository's folder as a whole; git's own are of files.
        sync = self.served.resolve()
        self.rules.with_suffix(".new").write_text(f"sync {EIO} {sync}\n")
        self.rules.with_suffix(".new").rename(self.rules)
        self.assert_told(self.push("unsure"), r"rejected|unknown|Input/output error")
        self.assert_others_served()
        self.heal()
        self.assert_all_well()


class DeadStateTest(FaultCase):
    planners = 0  # git is what needs the state folder to answer a fetch

    def test_reads_are_served_and_pushes_refused_in_words(self):
        state = str(self.weir.state)
        self.die(("write", state), ("sync", state), ("change", state), ("open", state + "/pushes"),
                 ("open", state + "/refs"))
        git("update-ref", "refs/heads/behind", "main", cwd=self.served)  # generations cannot be kept
        for http in VERSIONS:
            got = self.clone(http=http)
            self.assertEqual(got.returncode, 0, got.err)
            self.assert_told(self.push("new"), "could not record this push")
        # What git itself is configured by is there as well.
        self.die(("open", state))
        for http in VERSIONS:
            self.assert_told(self.clone(http=http), r"weir: .*request")
        self.heal()
        self.assert_all_well()
        self.assertEqual(os.listdir(self.weir.state / "pushes"), [])


class NoMemoryTest(FaultCase):
    planners = 0  # git is to serve the fetches

    def test_a_git_without_memory_is_told_and_others_go_on(self):
        commit(self.work, "blob", os.urandom(20 * MIB))
        self.assertEqual(self.push("main").returncode, 0)
        self.no_memory.write_text("12000")
        for http, protocol in zip(VERSIONS, (0, 2)):
            self.assert_told(self.clone(http=http, protocol=protocol),
                             r"remote: .*(Cannot allocate|memory)|weir: .*request")
        tip = commit(self.work, "more", os.urandom(20 * MIB))
        self.assert_told(self.push("more", tip), r"rejected|unpack|memory|weir")
        self.assert_others_served()
        self.heal()
        self.assert_all_well()

    def test_a_worker_without_memory_is_replaced(self):
        self.assertEqual(self.clone().returncode, 0)
        workers = [pid for pid in descendants_of(self.weir.process.pid)
                   if "git-worker" in command_line(pid)]
        self.assertTrue(workers)
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_AS, (MIB, MIB))
        # Configuration is read by a worker; many includes need memory that it does not get.
        included = self.served / "included"
        included.write_text("[x]\n" + "".join(f"\tk{number} = {'v' * 200}\n" for number in range(50_000)))
        git("config", "include.path", included, cwd=self.served)
        wait_until(lambda: self.clone().returncode == 0, 30, self.weir.output_text)
        self.assert_others_served()
        self.assert_all_well()


del ExhaustionCase  # its tests are not this module's


if __name__ == "__main__":
    unittest.main()
