"""Goal: every way a real git client reads a repository works over HTTP/1.1 and HTTP/2 and with protocol
v0, v1 and v2, and what arrives is whole. Method: one server, one served repository with merges, tags and
branches; each scenario is run for every transport and ends with `git fsck --strict` and a comparison of
refs with the served repository."""
import itertools
import threading
import unittest

from weir_server import WeirTestCase, commit, fsck, git, make_work_tree

TRANSPORTS = list(itertools.product(("HTTP/1.1", "HTTP/2"), (0, 1, 2)))


class CloneTest(WeirTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.served = cls.weir.make_repository("acme/tools/site.git")
        cls.work = make_work_tree(cls.weir.folder / "work", commits=12)
        git("push", "-q", "--mirror", cls.served, cwd=cls.work)
        cls.weir.make_repository("acme/empty.git")

    def each_transport(self):
        for http, protocol in TRANSPORTS:
            yield http, protocol, self.scratch / f"{http.replace('/', '')}-v{protocol}"

    def clone(self, target, *arguments, http="HTTP/2", protocol=2, name="acme/tools/site.git"):
        self.weir.git("clone", "-q", *arguments, self.weir.url(name), target, http=http,
                      protocol=protocol)
        fsck(target)
        return target

    def heads(self, repository, pattern="refs"):
        return git("for-each-ref", "--format=%(refname) %(objectname)", pattern, cwd=repository).out

    def test_full_clone_brings_every_ref(self):
        for http, protocol, target in self.each_transport():
            self.clone(target, "--mirror", http=http, protocol=protocol)
            self.assertEqual(self.heads(target), self.heads(self.served))

    def test_clone_without_dot_git_names_the_same_repository(self):
        self.clone(self.scratch / "c", name="acme/tools/site")

    def test_clone_checks_out_the_default_branch(self):
        for http, protocol, target in self.each_transport():
            self.clone(target, http=http, protocol=protocol)
            self.assertEqual(git("symbolic-ref", "HEAD", cwd=target).out.strip(), "refs/heads/main")
            self.assertTrue((target / "side.txt").exists())

    def test_empty_clone_keeps_the_unborn_branch_name(self):
        for http, protocol, target in self.each_transport():
            self.clone(target, http=http, protocol=protocol, name="acme/empty.git")
            if protocol == 2:
                self.assertEqual(git("symbolic-ref", "HEAD", cwd=target).out.strip(),
                                 "refs/heads/main")

    def test_fetch_brings_what_was_added(self):
        for http, protocol, target in self.each_transport():
            self.clone(target, http=http, protocol=protocol)
            new = commit(self.work, "added.txt", f"{http} {protocol}\n")
            git("push", "-q", self.served, "main", cwd=self.work)
            self.weir.git("fetch", "-q", "origin", cwd=target, http=http, protocol=protocol)
            fsck(target)
            self.assertEqual(git("rev-parse", "origin/main", cwd=target).out.strip(), new)

    def test_fetch_with_local_commits_negotiates(self):
        for http, protocol, target in self.each_transport():
            self.clone(target, http=http, protocol=protocol)
            for number in range(120):
                git("commit", "-q", "--allow-empty", "-m", f"local {number}", cwd=target)
            new = commit(self.work, "negotiated.txt", f"{http} {protocol}\n")
            git("push", "-q", self.served, "main", cwd=self.work)
            self.weir.git("fetch", "-q", "origin", cwd=target, http=http, protocol=protocol)
            fsck(target)
            self.assertEqual(git("rev-parse", "origin/main", cwd=target).out.strip(), new)

    def test_single_branch_clone_brings_one_branch(self):
        for http, protocol, target in self.each_transport():
            self.clone(target, "--single-branch", "--branch", "side", http=http, protocol=protocol)
            self.assertEqual(git("branch", "-r", cwd=target).out.split(), ["origin/side"])

    def test_shallow_chain_deepens_and_unshallows(self):
        for http, protocol, target in self.each_transport():
            self.clone(target, "--depth", "1", "--no-single-branch", http=http, protocol=protocol)
            count = lambda: int(git("rev-list", "--count", "HEAD", cwd=target).out)
            self.assertEqual(count(), 1)
            for arguments in (["--depth", "3"], ["--deepen", "2"], ["--unshallow"]):
                self.weir.git("fetch", "-q", *arguments, "origin", cwd=target, http=http,
                              protocol=protocol)
                fsck(target)
            self.assertFalse((target / ".git/shallow").exists())
            self.assertEqual(count(), int(git("rev-list", "--count", "main", cwd=self.served).out))

    def test_shallow_since_and_exclude(self):
        self.clone(self.scratch / "since", "--shallow-since=2000-01-01")
        self.clone(self.scratch / "exclude", "--shallow-exclude=light")
        self.assertTrue((self.scratch / "exclude/.git/shallow").exists())

    def test_partial_clones_fetch_the_rest_lazily(self):
        for filter_spec in ("blob:none", "blob:limit=100", "tree:0", "object:type=commit"):
            for http in ("HTTP/1.1", "HTTP/2"):
                with self.subTest(filter=filter_spec, http=http):
                    target = self.scratch / f"{filter_spec}-{http}".replace("/", "")
                    self.weir.git("clone", "-q", "--no-checkout", f"--filter={filter_spec}",
                                  self.weir.url("acme/tools/site.git"), target, http=http)
                    missing = git("rev-list", "--objects", "--all", "--missing=print", cwd=target)
                    self.assertIn("?", missing.out)
                    self.weir.git("checkout", "-q", "main", cwd=target, http=http)
                    self.assertTrue((target / "dir0/file0.txt").exists())

    def test_want_by_id_of_a_reachable_commit(self):
        old = git("rev-parse", "main~3", cwd=self.served).out.strip()
        for http, protocol, target in self.each_transport():
            git("init", "-q", target)
            self.weir.git("fetch", "-q", "--depth", "1", self.weir.url("acme/tools/site.git"), old,
                          cwd=target, http=http, protocol=protocol)
            git("cat-file", "-e", old, cwd=target)

    def test_want_of_an_unreachable_commit_is_refused_with_its_id(self):
        lost = git("commit-tree", "-m", "lost", "main^{tree}", cwd=self.served).out.strip()
        for http, protocol, target in self.each_transport():
            git("init", "-q", target)
            result = self.weir.git("fetch", self.weir.url("acme/tools/site.git"), lost, cwd=target,
                                   http=http, protocol=protocol, check=False)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(lost, result.err)

    def test_ls_remote_equals_the_served_refs(self):
        expected = git("ls-remote", self.served).out
        for http, protocol, _ in self.each_transport():
            got = self.weir.git("ls-remote", self.weir.url("acme/tools/site.git"), http=http,
                                protocol=protocol).out
            self.assertEqual(got, expected)

    def test_a_push_made_by_other_means_is_seen_by_the_next_request(self):
        for number in range(30):
            new = git("commit-tree", "-p", "main", "-m", f"n{number}", "main^{tree}",
                      cwd=self.served).out.strip()
            git("update-ref", "refs/heads/moving", new, cwd=self.served)
            got = self.weir.git("ls-remote", self.weir.url("acme/tools/site.git"),
                                "refs/heads/moving").out
            self.assertEqual(got.split()[0], new)
        git("update-ref", "-d", "refs/heads/moving", cwd=self.served)
        self.assertEqual(self.weir.git("ls-remote", self.weir.url("acme/tools/site.git"),
                                       "refs/heads/moving").out, "")

    def test_sha256_repository_is_cloned_and_fetched(self):
        served = self.weir.make_repository("acme/new.git", "--object-format=sha256")
        work = make_work_tree(self.scratch / "work256", object_format="sha256")
        git("push", "-q", "--mirror", served, cwd=work)
        for http, protocol, target in self.each_transport():
            self.clone(target, "--mirror", http=http, protocol=protocol, name="acme/new.git")
            self.assertEqual(self.heads(target), self.heads(served))

    def test_repack_and_prune_beside_clones(self):
        stop = threading.Event()

        def maintain():
            while not stop.is_set():
                git("repack", "-q", "-adf", cwd=self.served)
                git("prune", "--expire=now", cwd=self.served)
                git("pack-refs", "--all", "--prune", cwd=self.served)

        thread = threading.Thread(target=maintain)
        thread.start()
        try:
            for number in range(10):
                self.clone(self.scratch / f"during{number}", "--mirror")
        finally:
            stop.set()
            thread.join()


if __name__ == "__main__":
    unittest.main()
