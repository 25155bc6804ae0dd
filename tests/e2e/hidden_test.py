"""Goal: what no visible ref reaches leaves the server by no way round: not as the parents of a commit that a client
calls shallow, not as a tag sent along, not through a filter that reads or searches it, not through deepen-not.
Method: requests by hand in every protocol version; the objects of the packs that come back are listed."""
import pathlib
import shutil
import tempfile

from abuse_case import AbuseTestCase, ZERO, command, pkt, v2_fetch
from weir_server import fsck, git

INFINITE = 2147483647


def unpacked(answer):
    """The pack and what was said beside it."""
    pack, said = b"", b""
    while answer:
        size = int(answer[:4], 16)
        payload, answer = answer[4:size], answer[max(size, 4):]
        if payload[:1] == b"\1":
            pack += payload[1:]
        else:
            said += payload
    return pack, said


class HiddenTest(AbuseTestCase):
    POOL = "repos/shared/pool.git"  # below the root: what can be planned is

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        pool = cls.weir.folder / cls.POOL
        git("init", "-q", "--bare", pool)
        (cls.served / "objects/info/alternates").write_text(f"{pool}/objects\n")
        cls.histories = {"hidden": cls.history(cls.served, "hidden"), "lost": cls.history(cls.served, "lost"),
                         "other": cls.history(pool, "other")}
        git("update-ref", "refs/hidden/secret", cls.histories["hidden"][-1], cwd=cls.served)
        git("tag", "-a", "-m", "nobody's business", "private/one", "main", cwd=cls.served)
        cls.private_tag = git("rev-parse", "private/one", cwd=cls.served).out.strip()
        for pattern in ("refs/hidden", "refs/tags/private"):
            git("config", "--add", "transfer.hideRefs", pattern, cwd=cls.served)
        # What a whole clone may hold.
        cls.visible = set(git("rev-list", "--objects", "--no-object-names", "main", "side", "v1.0", "light",
                              cwd=cls.served).out.split())

    @staticmethod
    def history(repository, name):
        commits = []
        for number in range(4):
            blob = git("hash-object", "-w", "--stdin", cwd=repository, input=f"{name} {number}".encode()).out.strip()
            tree = git("mktree", cwd=repository, input=f"100644 blob {blob}\tfile\n".encode()).out.strip()
            parents = ["-p", commits[-1]] if commits else []
            commits.append(git("commit-tree", "-m", f"{name} {number}", *parents, tree, cwd=repository).out.strip())
        return commits

    def ask(self, version, *lines, capabilities=""):
        """The objects that come for `lines` beside a want of main, and what is said."""
        if version == 2:
            body = v2_fetch(f"want {self.main}\n", *lines, *(f"{word}\n" for word in capabilities.split()), "done\n")
        else:
            body = (pkt(f"want {self.main} side-band-64k ofs-delta filter {capabilities}\n") +
                    b"".join(map(pkt, lines)) + b"0000" + pkt("done\n"))
        fields = [f"Git-Protocol: version={version}"] if version == 1 else []
        status, _, answer = self.upload(body, *fields, version=version)
        self.assertEqual(status, 200)
        pack, said = unpacked(answer)
        if not pack:
            return set(), said
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.scratch))
        git("init", "-q", "--bare", folder)
        git("index-pack", "--stdin", cwd=folder, input=pack)
        listed = git("cat-file", "--batch-check=%(objectname)", "--batch-all-objects", cwd=folder).out.split()
        shutil.rmtree(folder)
        return set(listed), said

    def test_nothing_is_unshallowed_that_no_visible_ref_reaches(self):
        for version in (0, 1, 2):
            for name, history in self.histories.items():
                for depth, word in ((INFINITE, ""), (3, "deepen-relative"), (INFINITE, "deepen-relative"),
                                    (INFINITE - 1, ""), (3, "")):
                    with self.subTest(name, version=version, depth=depth, word=word):
                        objects, said = self.ask(version, f"shallow {history[-1]}\n", f"deepen {depth}\n",
                                                 capabilities=word)
                        self.assertEqual(objects - self.visible, set())
                        self.assertNotIn(history[-1].encode(), said)

    def test_planned_answers_do_not_tell_a_hidden_commit_from_an_unknown_one(self):
        for lines in (["have {}", "done"], ["have {}"], [f"have {self.main}", "have {}", "thin-pack", "done"],
                      [f"have {self.main}", "have {}"], ["shallow {}", "done"], ["shallow {}", "deepen 2", "done"],
                      ["shallow {}", "have {}", f"deepen {INFINITE}", "include-tag", "done"]):
            answers = {}
            for name, history in (("unknown", ["12" * 20]), *self.histories.items()):
                before = len(self.weir.records())
                asked = [line.format(history[-1]) + "\n" for line in (f"want {self.main}", "ofs-delta", *lines)]
                status, _, answers[name] = self.upload(v2_fetch(*asked), version=2)
                self.assertEqual(status, 200)
                record = self.weir.wait_for_record(lambda r: r in self.weir.records()[before:] and r.get("plan"))
                self.assertEqual(record["plan"], "planned", (name, lines))
            self.assertGreater(len(answers["unknown"]), 8)
            for name in self.histories:
                self.assertEqual(answers[name], answers["unknown"], (name, lines))

    def test_words_that_git_takes_for_deepen_relative_are_known(self):
        for word in ("x\tdeepen-relative", "deepen-relative=1", "x\tdeepen-relative\ty", "deepen-relative\n"):
            with self.subTest(word):
                objects, _ = self.ask(0, f"shallow {self.histories['hidden'][-1]}\n", "deepen 3\n", capabilities=word)
                self.assertEqual(objects - self.visible, set())

    def test_visible_history_is_deepened_and_unshallowed_all_the_same(self):
        for http, protocol in (("HTTP/2", 2), ("HTTP/1.1", 0)):
            clone = self.scratch / f"clone{protocol}"
            self.weir.git("clone", "-q", "--depth", "1", self.weir.url("acme/site.git"), clone, http=http,
                          protocol=protocol)
            self.weir.git("fetch", "-q", "--deepen", "1", cwd=clone, http=http, protocol=protocol)
            self.assertTrue((clone / ".git/shallow").exists())
            self.weir.git("fetch", "-q", "--unshallow", cwd=clone, http=http, protocol=protocol)
            self.assertFalse((clone / ".git/shallow").exists())
            self.assertEqual(git("rev-list", "--count", "origin/main", cwd=clone).out,
                             git("rev-list", "--count", "main", cwd=self.work).out)
            fsck(clone)

    def test_hidden_tags_are_not_sent_along(self):
        for version in (0, 1, 2):
            for word in ("include-tag", *(("x\tinclude-tag", "include-tag=1") if version < 2 else ())):
                with self.subTest(version=version, word=word):
                    objects, _ = self.ask(version, capabilities=word)
                    self.assertIn(self.main, objects)
                    self.assertEqual(objects - self.visible, set())
        clone = self.scratch / "clone"
        self.weir.git("clone", "-q", self.weir.url("acme/site.git"), clone)
        self.assertEqual(git("tag", cwd=clone).out.split(), ["light", "v1.0"])
        self.assertNotEqual(git("cat-file", "-e", self.private_tag, cwd=clone, check=False).returncode, 0)

    def test_filters_read_and_search_no_object(self):
        blob = git("rev-parse", f"{self.histories['hidden'][0]}:file", cwd=self.served).out.strip()
        for spec in ("sparse:oid=refs/hidden/secret:file", "sparse:oid=:/hidden", f"sparse:oid={blob}",
                     "sparse:oid=main:side.txt", "combine:blob:none+sparse:oid=main:side.txt",
                     "combine:%73parse:oid=main:side.txt", "combine:" + "+".join(["blob:none"] * 300)):
            for version in (0, 2):
                with self.subTest(spec[:60], version=version):
                    objects, said = self.ask(version, f"filter {spec}\n")
                    self.assertEqual(objects, set())
                    self.assertIn(b"ERR weir: filters are served by", said)
                    self.assertNotIn(self.histories["hidden"][-1].encode(), said)
        self.assertIn(self.main, self.ask(2, "filter combine:blob:none+tree:1\n")[0])

    def test_deepen_not_answers_alike_for_hidden_refs_and_none(self):
        said = set()
        for name in ("refs/hidden/secret", "refs/hidden/nothing", "hidden/secret", "private/one", "config",
                     "refs/heads/nothing", "objects/info/alternates", "../site.git/HEAD"):
            for version in (0, 2):
                objects, text = self.ask(version, f"deepen-not {name}\n")
                self.assertEqual(objects, set())
                said.add(text.replace(name.encode(), b"NAME").partition(b" (request")[0])
        self.assertEqual(said, {b"ERR weir: deepen-not names no ref: NAME"})
        for name in ("HEAD", "light", "refs/tags/light", "side"):
            self.assertNotIn(b"ERR", self.ask(2, f"deepen-not {name}\n")[1])


class HiddenFromGitTest(HiddenTest):
    """The same where nothing is planned: an alternate is outside of the root."""
    POOL = "pool.git"
    test_planned_answers_do_not_tell_a_hidden_commit_from_an_unknown_one = None


class ReplacedTest(AbuseTestCase):
    def test_no_push_is_made_whole_by_a_replacement(self):
        """A ref below refs/replace/ must not stand in for a parent that nobody sent."""
        missing = "12" * 20
        git("config", "receive.fsckObjects", "false", cwd=self.served)  # then a walk alone decides
        self.weir.git("push", "-q", self.weir.url("acme/site.git", self.token), f"main:refs/replace/{missing}",
                      cwd=self.work)
        tree = git("rev-parse", "main^{tree}", cwd=self.work).out.strip()
        raw = f"tree {tree}\nparent {missing}\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nx\n".encode()
        made = git("hash-object", "-t", "commit", "-w", "--stdin", cwd=self.work, input=raw).out.strip()
        pack = git("pack-objects", "--stdout", cwd=self.work, input=f"{made}\n".encode()).stdout
        status, _, answer = self.receive(command(ZERO, made, "refs/heads/hollow") + b"0000" + pack)
        self.assertEqual(status, 200)
        self.assertIn(b"ng refs/heads/hollow", answer)
        self.assertEqual(git("for-each-ref", "refs/heads/hollow", cwd=self.served).out, "")


if __name__ == "__main__":
    import unittest
    unittest.main()
