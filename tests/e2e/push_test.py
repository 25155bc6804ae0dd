"""Goal: every way a real git client writes works over HTTP/1.1 and HTTP/2, what is acknowledged is there, and
a refusal is told in words. Method: a served repository per test, real pushes, then `git fsck --strict` and
ref comparison on the served side."""
import os
import stat
import subprocess
import unittest

from weir_server import GIT_ENVIRONMENT, WeirTestCase, commit, fsck, git, make_work_tree

VERSIONS = ("HTTP/1.1", "HTTP/2")

# Speaks version 1 of the proc-receive protocol: puts what is pushed for review under refs/changes/1.
PROC_RECEIVE = r"""
exec /usr/bin/python3 -c '
import subprocess, sys
def read():
    lines = []
    while True:
        size = int(sys.stdin.buffer.read(4), 16)
        if size == 0:
            return lines
        lines.append(sys.stdin.buffer.read(size - 4).rstrip(b"\n"))
def write(*lines):
    for line in lines:
        sys.stdout.buffer.write(b"%04x%s" % (len(line) + 4, line))
    sys.stdout.buffer.write(b"0000")
    sys.stdout.buffer.flush()
read()
write(b"version=1\0atomic")
for command in read():
    old, new, ref = command.split(b" ")
    subprocess.run(["git", "update-ref", "refs/changes/1", new.decode()], check=True)
    write(b"ok " + ref)
'
"""


class PushTest(WeirTestCase):
    def setUp(self):
        super().setUp()
        self.work = make_work_tree(self.scratch / "work")
        self.number = 0

    def each_version(self):
        for http in VERSIONS:
            self.number += 1
            name = f"acme/{self.id().rsplit('.', 1)[1]}{self.number}.git"
            served = self.weir.make_repository(name)
            yield http, served, self.weir.url(name, self.token)

    def push(self, url, *arguments, http="HTTP/2", check=True, protocol=2):
        return self.weir.git("push", *arguments[:1], url, *arguments[1:], cwd=self.work, http=http,
                             check=check, protocol=protocol)

    def ref(self, served, name):
        return git("rev-parse", "--verify", "-q", name, cwd=served, check=False).out.strip()

    def hook(self, served, name, script):
        path = served / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def test_small_push_is_there_and_seen_by_the_next_ls_remote(self):
        for http, served, url in self.each_version():
            for protocol in (0, 1, 2):
                new = commit(self.work, "a.txt", f"{http} {protocol}\n")
                self.push(url, "-q", "main", http=http, protocol=protocol)
                self.assertEqual(self.ref(served, "main"), new)
                self.assertEqual(self.weir.git("ls-remote", url, "refs/heads/main").out.split()[0],
                                 new)
            fsck(served)

    def test_mirror_push_brings_branches_and_tags(self):
        for http, served, url in self.each_version():
            self.push(url, "--mirror", http=http)
            refs = "--format=%(refname) %(objectname)"
            self.assertEqual(git("for-each-ref", refs, cwd=served).out,
                             git("for-each-ref", refs, cwd=self.work).out)
            fsck(served)

    def test_chunked_push_over_one_mebibyte(self):
        for http, served, url in self.each_version():
            new = commit(self.work, "big.bin", os.urandom(5 * 1024 * 1024))
            self.push(url, "-q", "main", http=http)
            self.assertEqual(self.ref(served, "main"), new)
            fsck(served)

    def test_large_push_of_300_mebibytes(self):
        for http, served, url in self.each_version():
            git("config", "core.bigFileThreshold", "1m", cwd=self.work)
            with open(self.work / "large.bin", "wb") as large:
                for _ in range(300):
                    large.write(os.urandom(1024 * 1024))
            git("add", "-A", cwd=self.work)
            git("commit", "-q", "-m", "large", cwd=self.work)
            self.push(url, "-q", "main", http=http)
            self.assertEqual(self.ref(served, "main"), self.ref(self.work, "main"))

    def test_forced_push_and_non_fast_forward(self):
        for http, served, url in self.each_version():
            self.push(url, "-q", "main", http=http)
            git("config", "receive.denyNonFastForwards", "true", cwd=served)
            git("commit", "-q", "--amend", "-m", f"rewritten {served.name}", cwd=self.work)
            refused = self.push(url, "--force", "main", http=http, check=False)
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn("non-fast-forward", refused.err)
            git("config", "receive.denyNonFastForwards", "false", cwd=served)
            self.push(url, "--force", "main", http=http)
            self.assertEqual(self.ref(served, "main"), self.ref(self.work, "main"))

    def test_delete_tag_and_branch(self):
        for http, served, url in self.each_version():
            self.push(url, "--mirror", http=http)
            self.push(url, "-q", ":side", ":v1.0", http=http)
            self.assertEqual(self.ref(served, "side"), "")
            self.assertEqual(self.ref(served, "v1.0"), "")
            fsck(served)

    def test_atomic_push_is_all_or_nothing(self):
        for http, served, url in self.each_version():
            self.hook(served, "update", '[ "$1" != refs/heads/bad ] || exit 1\n')
            git("branch", "-f", "bad", "main", cwd=self.work)
            result = self.push(url, "--atomic", "main", "bad", http=http, check=False)
            self.assertNotEqual(result.returncode, 0)
            self.assertEqual(self.ref(served, "main"), "")
            result = self.push(url, "-q", "main", "bad", http=http, check=False)
            self.assertEqual(self.ref(served, "main"), self.ref(self.work, "main"))
            self.assertEqual(self.ref(served, "bad"), "")

    def test_push_options_reach_the_hook_and_its_output_the_user(self):
        for http, served, url in self.each_version():
            self.hook(served, "pre-receive",
                      'cat >/dev/null; echo "got $GIT_PUSH_OPTION_COUNT: $GIT_PUSH_OPTION_0"\n'
                      'echo "user $REMOTE_USER"\n')
            result = self.push(url, "--push-option=topic=x", "main", http=http)
            self.assertIn("remote: got 1: topic=x", result.err)
            self.assertIn("remote: user tester", result.err)

    def test_push_rejected_by_hook_shows_its_reason(self):
        for http, served, url in self.each_version():
            self.hook(served, "pre-receive", 'cat >/dev/null; echo "policy: not today"; exit 1\n')
            result = self.push(url, "-q", "main", http=http, check=False)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("policy: not today", result.err)
            self.assertIn("pre-receive hook declined", result.err)
            record = self.weir.wait_for_record(
                lambda r, name=served.name: r["operation"] == "push" and r["decision"] == "refused" and
                name.startswith(r["repository"].removesuffix(".git")))
            self.assertEqual(record["detail"], "refs/heads/main: pre-receive hook declined")
            self.assertEqual(self.ref(served, "main"), "")
            self.assertEqual(list((served / "objects").glob("tmp_objdir*")), [])

    def test_post_receive_hook_sees_the_push_and_its_output_is_shown(self):
        for http, served, url in self.each_version():
            self.hook(served, "post-receive", 'read old new ref; echo "deployed $new"\n')
            result = self.push(url, "--no-progress", "main", http=http)
            self.assertIn("remote: deployed " + self.ref(self.work, "main"), result.err)

    def test_broken_objects_are_refused(self):
        for http, served, url in self.each_version():
            tree = git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", cwd=self.work,
                       input=b"100644 .git\0" + b"\1" * 20).out.strip()
            bad = git("commit-tree", "-m", "bad", tree, cwd=self.work, check=False)
            if bad.returncode != 0:
                self.fail("could not make a broken commit")
            result = self.push(url, "-q", f"{bad.out.strip()}:refs/heads/bad", http=http,
                               check=False)
            self.assertNotEqual(result.returncode, 0)
            self.assertEqual(self.ref(served, "bad"), "")

    def test_concurrent_pushes_to_one_ref_have_one_winner(self):
        for http, served, url in self.each_version():
            self.push(url, "-q", "main", http=http)
            rivals = []
            for number in range(6):
                tip = git("commit-tree", "-p", "main", "-m", f"rival {number}", "main^{tree}",
                          cwd=self.work).out.strip()
                rivals.append((tip, subprocess.Popen(
                    ["git", "-c", f"http.sslCAInfo={self.weir.certificate}", "-c",
                     f"http.version={http}", "push", "-q", url, f"{tip}:refs/heads/main"],
                    cwd=self.work, env=GIT_ENVIRONMENT, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL)))
            winners = [tip for tip, process in rivals if process.wait(60) == 0]
            self.assertEqual(len(winners), 1)
            self.assertEqual(self.ref(served, "main"), winners[0])
            fsck(served)

    def test_signed_push_carries_a_nonce_that_the_hook_finds_good(self):
        key = self.scratch / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        signers = self.scratch / "signers"
        signers.write_text("committer@example.com " + key.with_suffix(".pub").read_text())
        for http, served, url in self.each_version():
            git("config", "gpg.ssh.allowedSignersFile", signers, cwd=served)
            git("config", "gpg.format", "ssh", cwd=served)
            self.hook(served, "pre-receive",
                      'cat >/dev/null; echo "nonce $GIT_PUSH_CERT_NONCE_STATUS"\n')
            result = self.weir.git("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}", "push",
                                   "--signed", url, "main", cwd=self.work, http=http)
            self.assertRegex(result.err, "nonce (OK|SLOP)")

    def test_proc_receive_hook_takes_review_refs(self):
        for http, served, url in self.each_version():
            self.push(url, "-q", "main", http=http)
            git("config", "receive.procReceiveRefs", "refs/for", cwd=served)
            self.hook(served, "proc-receive", PROC_RECEIVE)
            new = commit(self.work, "review.txt", f"{http}\n")
            self.push(url, "-q", "HEAD:refs/for/main/topic", http=http)
            self.assertEqual(self.ref(served, "refs/changes/1"), new)
            self.assertEqual(self.ref(served, "refs/for/main/topic"), "")

    def test_shallow_clone_can_push(self):
        for http, served, url in self.each_version():
            self.push(url, "-q", "main", http=http)
            target = self.scratch / f"shallow{self.number}"
            self.weir.git("clone", "-q", "--depth", "1", url, target, http=http)
            new = commit(target, "from-shallow.txt", "x\n")
            self.weir.git("push", "-q", "origin", "HEAD:main", cwd=target, http=http)
            self.assertEqual(self.ref(served, "main"), new)
            fsck(served)

    def test_sha256_push(self):
        served = self.weir.make_repository("acme/push256.git", "--object-format=sha256")
        work = make_work_tree(self.scratch / "work256", object_format="sha256")
        self.weir.git("push", "-q", self.weir.url("acme/push256.git", self.token), "main", cwd=work)
        self.assertEqual(self.ref(served, "main"), self.ref(work, "main"))


if __name__ == "__main__":
    unittest.main()
