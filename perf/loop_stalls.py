#!/usr/bin/env python3
"""How long a turn of an event loop takes at most, by what the server is doing, with warm and cold caches.

Each kind of work runs alone against a server of its own, then all together while the cores are saturated.
The loop's threads get real-time priority, so that they hardly wait for a core; what they still waited in that
second is printed as "waiting". The last column is the whole mixture again at normal priority. Turn times are `weir_loop_turn_seconds` and
`weir_loop_turn_max_microseconds`. Needs root (priority, dropping caches). Writes to perf/README.md.

usage: loop_stalls.py [--seconds 5] [--refs 500000] [--only NAME]
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import measure
from compare_refs import LS_REFS, pkt
from peers import Weir
from weir_server import GIT_ENVIRONMENT, commit, git, make_work_tree

TARGET_MS = 5
V2 = ["-H", "Git-Protocol: version=2"]
POST = ["-H", "Content-Type: application/x-git-upload-pack-request"]
ADVERTISEMENT = "/info/refs?service=git-upload-pack"


class Server:
    """One server over the common repositories, and what its loops have said."""

    def __init__(self, fixture, backend, realtime):
        self.fixture = fixture
        self.weir = Weir(config="[limits]\ndrain_s = 0\n", loops=1, arguments=["--io", backend])
        shutil.rmtree(self.weir.root)
        self.weir.root.symlink_to(fixture.root)
        self.weir.prepare()
        self.token = self.weir.add_token()
        self.weir.start()
        self.beats = []  # (longest turn, waiting for the core), of each second, in ms
        if realtime:
            for task in self.loop_tasks():
                os.sched_setscheduler(task, os.SCHED_RR, os.sched_param(1))

    def loop_tasks(self):
        found = []
        for pid in measure.process_tree(self.weir.process.pid):
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                if (task / "comm").read_text().startswith("weir-loop"):
                    found.append(int(task.name))
        return found

    def metrics(self):
        return self.weir.admin("/metrics")[1]

    def value(self, text, name):
        return float(re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M).group(1))

    def buckets(self, text):
        found = re.findall(r'^weir_loop_turn_seconds_bucket{le="([^"]+)"} (\d+)$', text, re.M)
        return [(float(bound), int(count)) for bound, count in found]

    def watch(self, stop):
        turns, waited = 0, None
        while not stop.wait(0.25):
            text = self.metrics()
            now = self.value(text, "weir_loop_turns_total")
            total = self.value(text, "weir_loop_run_queue_microseconds_total")
            if now != turns and waited is not None:
                longest = self.value(text, "weir_loop_turn_max_microseconds")
                self.beats.append((longest / 1000, (total - waited) / 1000))
            if now != turns or waited is None:
                turns, waited = now, total

    def curl(self, path, *arguments):
        """The status; the answer goes nowhere."""
        return subprocess.run(
            ["curl", "-sS", "--max-time", "30", "--cacert", self.weir.certificate, "-o", "/dev/null",
             "-w", "%{http_code}", *arguments, f"https://localhost:{self.weir.port}/{path}"],
            capture_output=True, text=True).stdout == "200"

    def ls_refs(self, repository, *more):
        return self.curl(f"{repository}/git-upload-pack", *V2, *POST, "--data-binary",
                         f"@{self.fixture.ls_refs}", *more)


class Fixture:
    def __init__(self, refs):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-stalls-"))
        self.root = self.scratch / "repos"
        (self.root / "t").mkdir(parents=True)
        self.ls_refs = self.scratch / "ls-refs"
        self.ls_refs.write_bytes(LS_REFS)
        self.work = make_work_tree(self.scratch / "work", commits=20)
        commit(self.work, "big", os.urandom(20_000_000))
        self.tip = git("rev-parse", "main", cwd=self.work).out.strip()
        self.plain = self.bare("plain")
        self.huge = self.bare("huge")
        lines = [f"{self.tip} refs/changes/{number % 100:02}/{number:07}/1\n" for number in range(refs)]
        (self.huge / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" +
                                               "".join(sorted(lines, key=lambda line: line[41:])))
        git("update-ref", "refs/heads/main", self.tip, cwd=self.huge)
        self.loose = self.bare("loose")
        self.spread(self.loose, 2000)
        self.few = self.bare("few")
        self.spread(self.few, 50)  # as many as are looked at on the loop itself
        self.number = 0

    def bare(self, name):
        path = self.root / "t" / f"{name}.git"
        git("init", "-q", "--bare", "--initial-branch=main", path)
        git("push", "-q", path, "main", cwd=self.work)
        return path

    def spread(self, repository, count):
        text = "".join(f"create refs/spread/{number:04}/head {self.tip}\n" for number in range(count))
        git("update-ref", "--stdin", cwd=repository, input=text.encode())

    def fresh(self):
        self.number += 1
        return self.number


def ls_refs(server):
    """h2load: one-prefix ls-refs on 16 connections."""
    command = ["h2load", "-n", "3000", "-c", "16", "-m", "1", "-t", "1", "-d", server.fixture.ls_refs]
    for header in V2[1:] + POST[1:2]:
        command += ["-H", header]
    url = f"https://localhost:{server.weir.port}/t/plain.git/git-upload-pack"
    out = subprocess.run([*map(str, command), url], capture_output=True, text=True).stdout
    return "3000 2xx" in out


def clone(server):
    with tempfile.TemporaryDirectory(dir=server.fixture.scratch) as folder:
        return server.weir.git("clone", "-q", "--bare", server.weir.url("t/plain.git"), folder,
                               check=False).returncode == 0


def push(server):
    """A commit of its own, by a name of its own."""
    number = server.fixture.fresh()
    made = git("commit-tree", "-p", server.fixture.tip, "-m", str(number),
               f"{server.fixture.tip}^{{tree}}", cwd=server.fixture.work).out.strip()
    return server.weir.git("push", "-q", server.weir.url("t/plain.git", server.token),
                           f"{made}:refs/heads/pushed/{number}", cwd=server.fixture.work,
                           check=False).returncode == 0


def handshakes(server):
    out = subprocess.run(["openssl", "s_time", "-connect", f"127.0.0.1:{server.weir.port}", "-new",
                          "-time", "1"], capture_output=True, text=True).stdout
    return "connections in" in out


def reload(server):
    server.weir.reload()
    time.sleep(0.1)
    return True


def admin(server):
    server.metrics()
    return server.weir.admin("/v1/status", server.weir.state / "admin.sock")[0] == 200


def first_advertisements(server):
    """Each form of the huge answer: the first time it is rendered, later from memory."""
    everything = pkt(b"command=ls-refs\n") + b"0001"
    forms = [b"", pkt(b"peel\n"), pkt(b"symrefs\n"), pkt(b"peel\n") + pkt(b"symrefs\n")]
    good = server.curl("t/huge.git" + ADVERTISEMENT)
    good &= server.curl("t/huge.git/info/refs?service=git-receive-pack", "-u", f"t:{server.token}")
    for form in forms:
        good &= server.curl("t/huge.git/git-upload-pack", *V2, *POST, "--data-binary",
                            (everything + form + b"0000").decode())
    return good


def packed_refs(server):
    """A ref moves, everything is packed again, and somebody asks."""
    git("update-ref", f"refs/heads/moved{server.fixture.fresh()}", server.fixture.tip,
        cwd=server.fixture.huge)
    git("pack-refs", "--all", cwd=server.fixture.huge)
    return server.ls_refs("t/huge.git") and server.curl("t/huge.git" + ADVERTISEMENT)


def loose_refs(server):
    """Many loose refs that move, and few ones, which are looked at on the loop."""
    number = server.fixture.fresh()
    for repository in (server.fixture.loose, server.fixture.few):
        git("update-ref", f"refs/spread/new{number}/head", server.fixture.tip, cwd=repository)
        # The server packs many loose refs in the background and may hold the lock just now.
        git("update-ref", "-d", f"refs/spread/new{number}/head", cwd=repository, check=False)
    return (server.ls_refs("t/loose.git") and server.ls_refs("t/few.git") and
            server.ls_refs("t/few.git"))


WORK = {"ls-refs": ls_refs, "clones": clone, "pushes": push, "handshakes": handshakes,
        "reloads": reload, "admin reads": admin, "advertisements of huge": first_advertisements,
        "pack-refs of huge": packed_refs, "loose refs": loose_refs}


def drop_caches(fixture, stop):
    """Pages, directory entries and inodes of the whole machine, twice a second."""
    while not stop.wait(0.5):
        os.sync()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def saturate():
    return [subprocess.Popen(["nice", "-n", "19", "sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count())]


def measured(fixture, backend, names, seconds, cold, realtime=True):
    server = Server(fixture, backend, realtime)
    stop, failures, done = threading.Event(), [], [0]

    def drive(work):
        while not stop.is_set():
            done[0] += 1
            if not work(server):
                failures.append(work.__name__)

    threads = [threading.Thread(target=drive, args=[WORK[name]]) for name in names]
    threads.append(threading.Thread(target=server.watch, args=[stop]))
    if cold:
        threads.append(threading.Thread(target=drop_caches, args=[fixture, stop]))
    busy = saturate() if len(names) > 1 else []
    try:
        for thread in threads:
            thread.start()
        time.sleep(seconds if len(names) == 1 else 3 * seconds)
        time.sleep(1.5 - time.time() % 1)  # the last second's figures are told
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for process in busy:
            process.kill()
            process.wait()
    text = server.metrics()
    server.weir.stop()
    server.weir.root.unlink()
    shutil.rmtree(server.weir.folder)
    buckets = server.buckets(text)
    total = buckets[-1][1]
    # Within a bucket of doubling width only its bound is known.
    p999 = next(bound for bound, count in buckets if count >= 0.999 * total) * 1000
    longest, waited = max(server.beats)
    print(f"  {backend} {'cold' if cold else 'warm'} {'+'.join(names)}: {done[0]} operations, {total} turns, "
          f"p99.9 <= {p999:.3f} ms, longest {longest:.2f} ms ({waited:.2f} ms of that second in the run "
          f"queue), {len(failures)} failed {set(failures) or ''}", flush=True)
    return total, p999, f"{longest:.3g}" + (f" (waiting <= {waited:.2g})" if waited >= 0.1 else "")


def row(fixture, backend, names, options, title):
    cells = [title, backend]
    for cold in (False, True):
        turns, p999, longest = measured(fixture, backend, names, options.seconds, cold)
        cells += [turns, f"{p999:.3g}", longest]
    normal = (measured(fixture, backend, names, options.seconds, True, False)[2]
              if len(names) > 1 else "")
    return [*cells, normal]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--refs", type=int, default=500_000)
    parser.add_argument("--only", help="one kind of work, or \"all\": printed, not published")
    options = parser.parse_args()
    fixture = Fixture(options.refs)
    kinds = [([name], name) for name in WORK] + [(list(WORK), "all, cores saturated")]
    if options.only:
        kinds = [kind for kind in kinds if kind[1].startswith(options.only)]
    try:
        rows = [row(fixture, backend, names, options, title)
                for names, title in kinds for backend in ("io_uring", "epoll")]
    finally:
        shutil.rmtree(fixture.scratch)
    text = measure.table(
        f"Turns of an event loop, ms, {options.refs} refs in the huge repository (`perf/loop_stalls.py`)",
        ["work", "io", "turns, warm", "p99.9 <=", f"longest (target <= {TARGET_MS})", "turns, cold",
         "p99.9 <=", f"longest (target <= {TARGET_MS})", "longest, cold, normal priority"], rows)
    if options.only:
        print(text)
    else:
        measure.publish("loop_stalls", text)


if __name__ == "__main__":
    main()
