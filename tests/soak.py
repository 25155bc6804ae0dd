"""Serves git clients and rude ones for a long time, and shows that memory and descriptors stay flat.

  nice python3 tests/soak.py [--minutes 60] [--io auto|io_uring|epoll]

Real pushes, fetches, clones (HTTP/1.1 and HTTP/2), wrong credentials, broken requests, clients that leave in the
middle, idle connections that come and go, reloads and admin reads. A line a minute; ends with a verdict: the last
quarter is compared with the second one (the first warms up), and everything counted must be back at rest.
"""
import argparse
import contextlib
import os
import pathlib
import random
import re
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "e2e"))
os.environ.pop("GIT_SSL_CAINFO", None)

from processes import children_of, descriptors_of, wait_until  # noqa: E402
from push_load import REPOSITORIES, Load  # noqa: E402
from raw_client import Connection  # noqa: E402
from weir_server import Weir  # noqa: E402

SAMPLE_SECONDS = 5
IDLE_CONNECTIONS = 40
GROWTH_MAX = 1.05  # of private memory, last quarter against second
DESCRIPTORS_MORE_MAX = 32  # at rest after against before: workers, folders and repositories kept open
AT_REST = ["weir_connections_open", "weir_requests_in_flight", "weir_upload_window_bytes", "weir_git_slots_in_use",
           "weir_git_slots_waiting", "weir_held_bytes", "weir_output_buffers"]


class Rude(threading.Thread):
    """Clients without manners, one after the other."""

    def __init__(self, weir, stopping, seed):
        super().__init__(daemon=True)
        self.weir, self.stopping = weir, stopping
        self.random = random.Random(seed)
        self.idle = []
        self.done = 0
        self.problem = None

    def run(self):
        acts = [self.garbage, self.half_a_head, self.leaves_mid_answer, self.wrong_token, self.unknown,
                self.half_a_body, self.comes_and_stays, self.reloads]
        try:
            while not self.stopping.wait(0.1):
                with contextlib.suppress(OSError):
                    self.random.choice(acts)()
                    self.done += 1
        except Exception as error:  # pylint: disable=broad-except
            self.problem = error
        for connection in self.idle:
            connection.close()

    def head(self, method, path, *fields):
        lines = [f"{method} /{path} HTTP/1.1", "Host: localhost", *fields, "", ""]
        return "\r\n".join(lines).encode()

    def repository(self):
        return self.random.choice(REPOSITORIES)

    def garbage(self):
        with Connection(self.weir, self.random.choice(["http/1.1", "h2"])) as connection:
            connection.send(self.random.randbytes(self.random.randrange(1, 4000)))
            connection.read_to_end()

    def half_a_head(self):
        with Connection(self.weir) as connection:
            head = self.head("GET", f"{self.repository()}/info/refs?service=git-upload-pack")
            connection.send(head[:self.random.randrange(len(head))])

    def leaves_mid_answer(self):
        with Connection(self.weir) as connection:
            tip = self.weir.git("ls-remote", self.weir.url(self.repository()), "main").out[:40]
            want = f"want {tip} side-band-64k ofs-delta\n"
            body = f"{len(want) + 4:04x}{want}00000009done\n"
            connection.send(self.head("POST", f"{self.repository()}/git-upload-pack",
                                      "Content-Type: application/x-git-upload-pack-request",
                                      f"Content-Length: {len(body)}") + body.encode())
            connection.read(1024)

    def wrong_token(self):
        with Connection(self.weir) as connection:
            connection.send(self.head("GET", f"{self.repository()}/info/refs?service=git-receive-pack",
                                      "Authorization: Basic dG9rZW46bm8=", "Connection: close"))
            connection.read_to_end()

    def unknown(self):
        with Connection(self.weir) as connection:
            connection.send(self.head("GET", f"acme/{self.random.random()}.git/info/refs?service=git-upload-pack",
                                      "Connection: close"))
            connection.read_to_end()

    def half_a_body(self):
        with Connection(self.weir) as connection:
            connection.send(self.head("POST", f"{self.repository()}/git-upload-pack",
                                      "Content-Type: application/x-git-upload-pack-request",
                                      "Content-Length: 4000") + b"0032want ")

    def comes_and_stays(self):
        self.idle.append(Connection(self.weir, self.random.choice(["http/1.1", "h2"])))
        if len(self.idle) > IDLE_CONNECTIONS:
            self.idle.pop(self.random.randrange(IDLE_CONNECTIONS)).close()

    def reloads(self):
        self.weir.process.send_signal(1)


def private_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(value) for value in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.M))


def metric(text, name):
    values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.M)
    if not values:
        raise SystemExit(f"no metric {name}")
    return sum(map(float, values))


class Soak:
    def __init__(self, weir):
        self.weir = weir
        names = {name: pid for pid, name in children_of(weir.process.pid).items()}
        self.pids = {"supervisor": weir.process.pid, "serving": names["weir-serving"],
                     "launcher": names["weir-launcher"]}
        self.samples = []

    def sample(self):
        for pid in self.pids.values():  # one that died would be a find
            os.kill(pid, 0)
        self.samples.append({name: (private_kib(pid), descriptors_of(pid)) for name, pid in self.pids.items()})

    def quarter(self, number, name, which):
        size = len(self.samples) // 4
        part = self.samples[number * size:(number + 1) * size]
        return statistics.median(sample[name][which] for sample in part)

    def verdict(self, descriptors_at_rest):
        problems = []
        for name, pid in self.pids.items():
            before, after = self.quarter(1, name, 0), self.quarter(3, name, 0)
            print(f"{name}: private memory {before / 1024:.1f} -> {after / 1024:.1f} MiB (x {after / before:.3f})")
            if after > before * GROWTH_MAX and after - before > 1024:
                problems.append(f"{name} grows")
            if self.quarter(3, name, 1) > self.quarter(1, name, 1) + DESCRIPTORS_MORE_MAX // 4:
                problems.append(f"{name}: descriptors grow")
            now = descriptors_of(pid)
            print(f"{name}: descriptors at rest {descriptors_at_rest[name]} before, {now} after")
            if now > descriptors_at_rest[name] + DESCRIPTORS_MORE_MAX:
                problems.append(f"{name} leaks descriptors")
        return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--io", default="auto")
    options = parser.parse_args()
    with Weir(arguments=["--io", options.io]) as weir, tempfile.TemporaryDirectory() as scratch:
        token = weir.add_token()
        weir.reload()
        load = Load(weir, token, pathlib.Path(scratch), seed=1, pushers=2, pause_seconds=0.5)
        soak = Soak(weir)
        at_rest = {name: descriptors_of(pid) for name, pid in soak.pids.items()}
        rude = Rude(weir, load.stopping, seed=1)
        end = time.monotonic() + options.minutes * 60
        with load:
            rude.start()
            while time.monotonic() < end and rude.problem is None:
                soak.sample()
                if len(soak.samples) % (60 // SAMPLE_SECONDS) == 1:
                    print(time.strftime("%H:%M:%S"), {name: f"{kib / 1024:.1f} MiB, {count} fds" for name, (kib, count)
                                                      in soak.samples[-1].items()}, load.summary(), flush=True)
                time.sleep(SAMPLE_SECONDS)
        rude.join(60)
        if rude.problem is not None:
            raise rude.problem
        print(f"{load.summary()}; {rude.done} rude clients")
        load.check()
        rest = "not read"

        def at_rest_again():
            nonlocal rest
            _, text = weir.admin("/metrics")
            rest = {name: metric(text, name) for name in AT_REST}
            return not any(rest.values())
        wait_until(at_rest_again, 60, lambda: rest)
        problems = soak.verdict(at_rest)
    print("flat" if not problems else "NOT FLAT: " + ", ".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
