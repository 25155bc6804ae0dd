"""Goal: clients other than git work: libgit2 (pygit2; speaks v0, chunks every push) and dulwich (v0). Method:
clone, fetch and push with each, then `git fsck --strict` on both sides."""
import unittest
import urllib3

import dulwich.client
import dulwich.config
import dulwich.porcelain
import dulwich.repo
import pygit2

from weir_server import WeirTestCase, commit, fsck, git, make_work_tree


class LibGit2Test(WeirTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.served = cls.weir.make_repository("acme/site.git")
        cls.work = make_work_tree(cls.weir.folder / "work", commits=8)
        git("push", "-q", "--mirror", cls.served, cwd=cls.work)
        pygit2.option(pygit2.GIT_OPT_SET_SSL_CERT_LOCATIONS, str(cls.weir.certificate), None)

    def callbacks(self):
        token = self.token

        class Callbacks(pygit2.RemoteCallbacks):
            rejected = []

            def credentials(self, url, username, allowed):
                return pygit2.UserPass("token", token)

            def push_update_reference(self, name, message):
                if message:
                    self.rejected.append((name, message))
        return Callbacks()

    def test_clone_fetch_and_push(self):
        target = self.scratch / "clone"
        repository = pygit2.clone_repository(self.weir.url("acme/site.git"), str(target),
                                             callbacks=self.callbacks())
        fsck(target)
        new = commit(self.work, "later.txt", "later\n")
        git("push", "-q", self.served, "main", cwd=self.work)
        repository.remotes["origin"].fetch(callbacks=self.callbacks())
        self.assertEqual(str(repository.references["refs/remotes/origin/main"].target), new)
        pushed = commit(target, "from-libgit2.txt", "x" * 3_000_000)
        git("branch", "topic", cwd=target)
        callbacks = self.callbacks()
        repository.remotes["origin"].push(["refs/heads/topic"], callbacks=callbacks)
        self.assertEqual(callbacks.rejected, [])
        self.assertEqual(git("rev-parse", "topic", cwd=self.served).out.strip(), pushed)
        fsck(self.served)

    def test_wrong_token_ends_with_an_authentication_error(self):
        self.token, good = "weir_wrong_wrong_wrong", self.token
        try:
            with self.assertRaises(Exception):
                pygit2.clone_repository(self.weir.url("acme/missing.git"),
                                        str(self.scratch / "x"), callbacks=self.callbacks())
        finally:
            self.token = good


class DulwichTest(WeirTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.served = cls.weir.make_repository("acme/site.git")
        cls.work = make_work_tree(cls.weir.folder / "work", commits=8)
        git("push", "-q", "--mirror", cls.served, cwd=cls.work)

    def client(self):
        pool = urllib3.PoolManager(ca_certs=str(self.weir.certificate))
        return dulwich.client.HttpGitClient(f"https://localhost:{self.weir.port}/",
                                            pool_manager=pool, username="token",
                                            password=self.token)

    def test_fetch_and_push(self):
        target = self.scratch / "clone"
        target.mkdir()
        repository = dulwich.repo.Repo.init_bare(str(target))
        result = self.client().fetch("/acme/site.git", repository)
        repository[b"refs/heads/main"] = result.refs[b"refs/heads/main"]
        fsck(target)
        new = git("commit-tree", "-p", "refs/heads/main", "-m", "by dulwich",
                  "refs/heads/main^{tree}", cwd=target).out.strip().encode()
        repository = dulwich.repo.Repo(str(target))
        self.client().send_pack("/acme/site.git", lambda refs: {b"refs/heads/topic": new},
                                repository.generate_pack_data)
        self.assertEqual(git("rev-parse", "topic", cwd=self.served).out.strip(), new.decode())
        fsck(self.served)


if __name__ == "__main__":
    unittest.main()
