"""A Weir server for tests: own folder, own ports, own certificate; ended by its own pid.

WEIR_BINARY names the binary (default: build/release/server/weir of this checkout); WEIR_IO the kernel
interface (auto, io_uring, epoll).
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("WEIR_BINARY", ROOT / "build/release/server/weir"))
START_SECONDS = 30

GIT_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "A U Thor", "GIT_AUTHOR_EMAIL": "author@example.com",
    "GIT_COMMITTER_NAME": "C O Mitter", "GIT_COMMITTER_EMAIL": "committer@example.com",
}


def io_arguments(arguments):
    kind = os.environ.get("WEIR_IO")
    return ["--io", kind] if kind and "--io" not in arguments else []


class Weir:
    """`with Weir() as weir:` serves weir.root; weir.url("t/r.git") is where."""

    def __init__(self, config="", loops=2, arguments=(), folder=None, environment=None):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="weir-e2e-"))
        self.own_folder = folder is None
        self.root = self.folder / "repos"
        self.state = self.folder / "state"
        self.root.mkdir(exist_ok=True)
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.certificate = self.state / "cert.pem"
        self.log_path = self.folder / "requests.log"
        self.config_path = self.folder / "weir.toml"
        self.extra_config = config
        self.loops = loops
        self.arguments = list(arguments)
        self.environment = environment or {}
        self.wrapper = []  # what the command line begins with
        self.binary = BINARY
        self.process = None
        self.port = None
        self.admin_port = None

    def __enter__(self):
        self.prepare()
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self):
        if not self.certificate.exists():
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-days", "2", "-sha256", "-subj", "/CN=localhost",
                 "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                 "-keyout", self.state / "key.pem", "-out", self.certificate],
                check=True, capture_output=True)
        self.write_config()

    def write_config(self):
        # Servers of tests end without waiting for clients to come, but where that is what is tested.
        extra = self.extra_config
        if "drain_accept_s" not in extra:
            extra = (extra.replace("[limits]", "[limits]\ndrain_accept_s = 0") if "[limits]" in extra
                     else extra + "\n[limits]\ndrain_accept_s = 0\n")
        self.config_path.write_text(f"""
[tls]
certificates = [{{ certificate = "{self.certificate}", key = "{self.state}/key.pem" }}]
[log]
path = "{self.log_path}"
{extra if "[access]" in extra else "[access]" + chr(10) + "public_read = true" + chr(10) + extra}
""")

    def start(self):
        self.port = free_port()
        self.admin_port = free_port()
        self.output = open(self.folder / "output", "ab")
        before = self.output.tell()
        self.process = subprocess.Popen(
            [*self.wrapper, self.binary, "serve", "--config", self.config_path, "--root", self.root,
             "--state", self.state, "--listen", f"127.0.0.1:{self.port}",
             "--admin-listen", f"127.0.0.1:{self.admin_port}", "--loops", str(self.loops),
             *io_arguments(self.arguments), *self.arguments],
            stdout=self.output, stderr=self.output, stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", **self.environment})
        deadline = time.monotonic() + START_SECONDS
        while b"ready https://" not in (self.folder / "output").read_bytes()[before:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("weir did not start:\n" + self.output_text())
            time.sleep(0.02)

    def stop(self, expect_clean=True):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("weir did not drain:\n" + self.output_text())
        finally:
            self.process = None
            self.output.close()
        if expect_clean and code != 0:
            raise AssertionError(f"weir ended with {code}:\n" + self.output_text())
        if re.search(r"Sanitizer|runtime error: ", self.output_text()):
            raise AssertionError("a sanitizer complained:\n" + self.output_text())

    def reload(self):
        """Sends SIGHUP and waits until the server says that it has reloaded (or refused to)."""
        before = len(self.log_text())
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while not re.search(r"reload(ed| refused)", self.log_text()[before:]):
            if time.monotonic() > deadline:
                raise AssertionError("no reload:\n" + self.output_text())
            time.sleep(0.02)

    def output_text(self):
        return (self.folder / "output").read_text(errors="replace")

    def log_text(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def records(self):
        """Every request record logged so far."""
        lines = self.log_text().splitlines()
        records = [json.loads(line) for line in lines]
        return [record for record in records if record.get("record") == "request"]

    def wait_for_record(self, predicate, seconds=10):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for record in self.records():
                if predicate(record):
                    return record
            time.sleep(0.02)
        raise AssertionError("no such record in:\n" + "\n".join(map(str, self.records()[-20:])))

    def add_token(self, tenant="*", scopes="read,push", subject="tester", expires=None):
        command = [BINARY, "token", "add", "--file", self.state / "tokens", "--tenant", tenant,
                   "--subject", subject, "--scopes", scopes, "--secret-only"]
        if expires:
            command += ["--expires", expires]
        made = subprocess.run(command, check=True, capture_output=True, text=True)
        return made.stdout.strip()

    def url(self, name, token=None):
        user = f"token:{token}@" if token else ""
        return f"https://{user}localhost:{self.port}/{name}"

    def make_repository(self, name, *arguments):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        git("init", "-q", "--bare", "--initial-branch=main", *arguments, path)
        return path

    def git(self, *arguments, http="HTTP/2", protocol=2, cwd=None, check=True, environment=None):
        """A real git client that trusts this server; http: "HTTP/1.1" or "HTTP/2"."""
        return git("-c", f"http.sslCAInfo={self.certificate}", "-c", f"http.version={http}",
                   "-c", f"protocol.version={protocol}", *arguments, cwd=cwd, check=check,
                   environment=environment)

    def curl(self, path, *arguments):
        result = subprocess.run(
            ["curl", "-sS", "--max-time", "30", "--cacert", self.certificate, *arguments,
             f"https://localhost:{self.port}{path}"], capture_output=True)
        return result

    def admin(self, path, socket_path=None):
        target = (["--unix-socket", str(socket_path), f"http://weir{path}"] if socket_path
                  else [f"http://127.0.0.1:{self.admin_port}{path}"])
        result = subprocess.run(["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", *target],
                                capture_output=True, text=True, check=True)
        body, _, status = result.stdout.rpartition("\n")
        return int(status), body


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def git(*arguments, cwd=None, check=True, environment=None, input=None):
    result = subprocess.run(["git", *map(str, arguments)], cwd=cwd, capture_output=True,
                            env={**GIT_ENVIRONMENT, **(environment or {})}, input=input, timeout=300)
    result.out = result.stdout.decode(errors="replace")
    result.err = result.stderr.decode(errors="replace")
    if check and result.returncode != 0:
        shown = re.sub(r"(weir_[a-z0-9]+_)\w+", r"\1***", " ".join(map(str, arguments)))
        raise AssertionError(f"git {shown}: {result.returncode}\n"
                             f"{result.out}{result.err}")
    return result


def commit(work, name, content, message=None):
    path = pathlib.Path(work) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", message or f"Change {name}", cwd=work)
    return git("rev-parse", "HEAD", cwd=work).out.strip()


def make_work_tree(folder, commits=3, object_format="sha1"):
    """A work tree with a few commits, a side branch, a merge and tags."""
    folder = pathlib.Path(folder)
    git("init", "-q", "--initial-branch=main", f"--object-format={object_format}", folder)
    for number in range(commits):
        commit(folder, f"dir{number % 3}/file{number}.txt", f"content {number}\n" * 50)
    git("checkout", "-q", "-b", "side", "HEAD~1", cwd=folder)
    commit(folder, "side.txt", "side\n")
    git("checkout", "-q", "main", cwd=folder)
    git("merge", "-q", "--no-ff", "-m", "Merge side", "side", cwd=folder)
    git("tag", "-a", "-m", "first release", "v1.0", cwd=folder)
    git("tag", "light", "HEAD~1", cwd=folder)
    return folder


def fsck(repository):
    git("fsck", "--strict", "--no-dangling", cwd=repository)


class WeirTestCase(unittest.TestCase):
    """One server a class; self.scratch is a folder of the test's own."""
    config = ""
    loops = 2

    @classmethod
    def setUpClass(cls):
        cls.weir = Weir(config=cls.config, loops=cls.loops)
        cls.weir.prepare()
        cls.token = cls.weir.add_token()
        cls.weir.start()

    @classmethod
    def tearDownClass(cls):
        cls.weir.__exit__()

    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-scratch-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
