"""Goal: who may do what, and what the user is told. Method: one server with a public and a private tenant,
real git and curl."""
import json
import unittest

from weir_server import WeirTestCase, git, make_work_tree


class AccessTest(WeirTestCase):
    config = """
[[access.rules]]
match = "secret"
public_read = false
[[access.rules]]
match = "acme/frozen"
push = false
public_read = true
"""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.work = make_work_tree(cls.weir.folder / "work")
        for name in ("acme/site.git", "acme/frozen.git", "secret/plans.git"):
            git("push", "-q", "--mirror", cls.weir.make_repository(name), cwd=cls.work)
        cls.reader = cls.weir.add_token(tenant="secret", scopes="read", subject="reader")
        cls.other = cls.weir.add_token(tenant="acme", scopes="read,push", subject="other")
        cls.weir.reload()

    def ls(self, name, token=None, check=True):
        return self.weir.git("ls-remote", self.weir.url(name, token), check=check)

    def status(self, path, *arguments):
        result = self.weir.curl(path, "-o", "/dev/null", "-w", "%{http_code}", *arguments)
        return int(result.stdout)

    REFS = "/info/refs?service=git-upload-pack"

    def test_public_repository_is_read_without_credentials(self):
        self.assertIn("refs/heads/main", self.ls("acme/site.git").out)

    def test_private_and_missing_ask_anonymous_users_the_same_question(self):
        answers = []
        for name in ("secret/plans.git", "secret/nothing.git", "acme/nothing.git"):
            got = self.weir.curl(f"/{name}{self.REFS}", "-i").stdout.decode()
            head, _, body = got.partition("\r\n\r\n")
            self.assertIn("401", head.splitlines()[0])
            self.assertIn('www-authenticate: Basic realm="Weir"', head)
            answers.append(body.split("(request")[0])
        self.assertEqual(len(set(answers)), 1)

    def test_known_user_without_right_sees_the_same_404_as_for_missing(self):
        answers = []
        for name in ("secret/plans.git", "secret/nothing.git"):
            got = self.weir.curl(f"/{name}{self.REFS}", "-w", "%{http_code}", "-u",
                                 f"x:{self.other}").stdout.decode()
            self.assertTrue(got.endswith("404"))
            answers.append(got.split("(request")[0])
        self.assertEqual(len(set(answers)), 1)

    def test_the_log_tells_a_missing_repository_from_a_name_without_right(self):
        for name, token, detail in (("secret/absent.git", self.reader, "no such repository"),
                                    ("secret/plans.git", self.other, "no right to this name")):
            self.weir.curl(f"/{name}{self.REFS}", "-u", f"x:{token}")
            record = self.weir.wait_for_record(
                lambda r: r["path"].startswith("/" + name) and r["decision"] == "unknown_repository")
            self.assertEqual(record["detail"], detail)

    def test_token_as_basic_password_and_as_bearer(self):
        self.assertIn("refs/heads/main", self.ls("secret/plans.git", self.reader).out)
        self.assertEqual(self.status(f"/secret/plans.git{self.REFS}", "-H",
                                     f"Authorization: Bearer {self.reader}"), 200)

    def test_wrong_token_is_401(self):
        wrong = self.reader[:-8] + "aaaaaaaa"
        result = self.ls("secret/plans.git", wrong, check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(self.status(f"/secret/plans.git{self.REFS}", "-u", f"x:{wrong}"), 401)

    def test_reader_may_not_push_and_is_told_so(self):
        result = self.weir.git("push", self.weir.url("secret/plans.git", self.reader), "main:x",
                               cwd=self.work, check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("403", result.err)
        self.assertIn("not push", result.err)

    def test_frozen_repository_refuses_pushes(self):
        result = self.weir.git("push", self.weir.url("acme/frozen.git", self.token), "main:x",
                               cwd=self.work, check=False)
        self.assertIn("403", result.err)

    def test_anonymous_push_asks_for_credentials(self):
        self.assertEqual(self.status("/acme/site.git/info/refs?service=git-receive-pack"), 401)

    def test_revoked_token_stops_at_once_after_reload(self):
        import subprocess
        from weir_server import BINARY
        token = self.weir.add_token(tenant="secret", scopes="read", subject="leaver")
        self.weir.reload()
        self.assertIn("refs/heads/main", self.ls("secret/plans.git", token).out)
        subprocess.run([BINARY, "token", "revoke", "--file", self.weir.state / "tokens",
                        token.split("_")[1]], check=True, capture_output=True)
        self.weir.reload()
        self.assertNotEqual(self.ls("secret/plans.git", token, check=False).returncode, 0)

    def test_paths_that_try_to_leave_the_root_are_refused(self):
        for path in ("/acme/../../etc/passwd", "/acme/%2e%2e/%2e%2e/etc", "/acme/a%00b.git",
                     "/acme/site.git/../../x", "/%2e%2e/x.git"):
            with self.subTest(path=path):
                self.assertIn(self.status(path + self.REFS, "--path-as-is"), (400, 401, 404))

    def test_dumb_http_is_refused_in_words(self):
        got = self.weir.curl("/acme/site.git/info/refs", "-w", "%{http_code}").stdout.decode()
        self.assertIn("dumb HTTP", got)
        self.assertTrue(got.endswith("403"))

    def test_lfs_is_answered_in_lfs_own_form(self):
        got = self.weir.curl("/acme/site.git/info/lfs/objects/batch", "-X", "POST", "-d", "{}",
                             "-H", "Content-Type: application/vnd.git-lfs+json")
        self.assertIn("LFS", json.loads(got.stdout)["message"])

    def test_plain_http_on_the_tls_port_is_told_to_use_https(self):
        import subprocess
        got = subprocess.run(["curl", "-sS", "-i", "--max-time", "10",
                              f"http://localhost:{self.weir.port}/"], capture_output=True)
        self.assertIn(b"400", got.stdout.splitlines()[0])
        self.assertIn(b"https", got.stdout)

    def test_request_ids_of_error_texts_are_in_the_log(self):
        text = self.weir.curl("/acme/site.git/info/refs").stdout.decode()
        request_id = text.split("(request ")[1].split(")")[0]
        record = self.weir.wait_for_record(lambda r: r["id"] == request_id)
        self.assertEqual(record["decision"], "dumb_http")

    def test_no_token_ever_reaches_log_or_output(self):
        self.ls("acme/site.git", self.token)
        self.status(f"/acme/site.git{self.REFS}&token={self.token}")
        self.status(f"/{self.token}/x.git{self.REFS}")
        self.status(f"/acme/site.git{self.REFS}", "-A", f"curl {self.token}")
        self.weir.wait_for_record(lambda r: r.get("agent", "").startswith("curl weir_"))
        secret = self.token.split("_")[2]
        self.assertNotIn(secret, self.weir.log_path.read_text())
        self.assertNotIn(secret, self.weir.output_text())


class AdminTest(WeirTestCase):
    def test_health_readiness_and_metrics_are_on_the_port_and_status_is_not(self):
        self.assertEqual(self.weir.admin("/healthz"), (200, "ok\n"))
        self.assertEqual(self.weir.admin("/readyz"), (200, "ready\n"))
        status, text = self.weir.admin("/metrics")
        self.assertEqual(status, 200)
        self.assertTrue(text.endswith("# EOF\n") or text.endswith("# EOF"))
        self.assertEqual(self.weir.admin("/v1/status")[0], 404)

    def test_status_is_on_the_private_socket(self):
        path = self.weir.state / "admin.sock"
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        status, text = self.weir.admin("/v1/status", socket_path=path)
        self.assertEqual(status, 200)
        document = json.loads(text)
        self.assertEqual(document["state"], "ready")
        self.assertEqual(len(document["loops"]), 2)


if __name__ == "__main__":
    unittest.main()
