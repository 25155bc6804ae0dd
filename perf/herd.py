#!/usr/bin/env python3
"""A herd: 100 identical clones begun within a second, against one clone at a time of the same server, and against
nginx serving the same bytes as a static file to the same clients.

The herd meets a server that has planned nothing yet. The client speaks HTTP/1.1 over TLS as git does
(advertisement, ls-refs, fetch on one connection), drains and does not index. Prints the plans that were made, what
all server processes wrote to disk (the access log is in memory), how much memory grew, their CPU against as many
single clones, and how long the first byte of a pack took. Writes to perf/README.md.

usage: herd.py [--repository BARE.git] [--clones 100] [--loops 2]
"""
import argparse
import os
import pathlib
import re
import selectors
import shutil
import socket
import ssl
import statistics
import tempfile
import threading
import time

import measure
from compare_clone import clone_request
from compare_refs import LS_REFS
from peers import Nginx, PinnedWeir
from weir_server import commit, git, make_work_tree

PATIENCE_S = 300
RECORD_BYTES = 16384  # the most that one call brings
SINGLE_CLONES = 20


class Clone:
    """One connection: three requests one after the other, of the last answer only the bytes are counted."""

    def __init__(self, address, context, requests):
        self.requests = list(requests)
        self.began = time.monotonic()
        plain = socket.create_connection(address)
        plain.setblocking(False)
        self.tls = context.wrap_socket(plain, server_hostname="localhost",
                                       do_handshake_on_connect=False)
        self.handshaken = False
        self.out = b""
        self.head = b""
        self.body = None
        self.asked = self.first_byte_s = self.wall_s = None

    def step(self):
        """What can be done now; returns what to wait for, or 0 when all is here."""
        try:
            if not self.handshaken:
                self.tls.do_handshake()
                self.handshaken = True
                self.ask()
            while self.out:
                self.out = self.out[self.tls.send(self.out):]
            for _ in range(8):  # then it is another's turn
                data = self.tls.recv(RECORD_BYTES)
                assert data, f"the connection ended early"
                if self.take(data):
                    return 0
                while self.out:
                    self.out = self.out[self.tls.send(self.out):]
        except ssl.SSLWantReadError:
            return selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            return selectors.EVENT_WRITE
        return selectors.EVENT_READ | selectors.EVENT_WRITE  # TLS may hold more

    def ask(self):
        self.out = self.requests.pop(0)
        self.asked = time.monotonic()

    def take(self, data):
        if self.head is not None:
            self.head += data
            head, separator, data = self.head.partition(b"\r\n\r\n")
            if not separator:
                return False
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
            self.body = Length(int(length[1])) if length else Chunks()
            self.head = None
            if not self.requests:
                self.first_byte_s = time.monotonic() - self.asked
        if not self.body.take(data):
            return False
        if self.requests:
            self.head = b""
            self.ask()
            return False
        self.wall_s = time.monotonic() - self.began
        return True


class Length:
    def __init__(self, length):
        self.bytes, self.left = 0, length

    def take(self, data):
        self.bytes += len(data)
        self.left -= len(data)
        return self.left == 0


class Chunks:
    """Walks over chunks; true when the last was met."""

    def __init__(self):
        self.bytes = 0
        self.skip = 0  # of the chunk at hand, with its line end
        self.line = b""

    def take(self, data):
        at = 0
        while at < len(data):
            if self.skip:
                step = min(self.skip, len(data) - at)
                self.skip -= step
                self.bytes += step
                at += step
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self.line += data[at:]
                return False
            size = int(self.line + data[at:end], 16)
            self.line = b""
            at = end + 1
            if size == 0:
                return True
            self.skip = size + 2
        return False


def run_clones(server, requests, count, within_s):
    """`count` clones, their starts spread evenly over the time; all of them when they have ended."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # only there the cipher can be chosen
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    address = ("127.0.0.1", server.port)
    began = time.monotonic()
    waiting = selectors.DefaultSelector()
    clones, ended = [], 0
    while ended < count:
        now = time.monotonic()
        assert now - began < PATIENCE_S, f"{ended} of {count} clones ended in {PATIENCE_S} s"
        while len(clones) < count and now - began >= within_s * len(clones) / count:
            clone = Clone(address, context, requests)
            clones.append(clone)
            waiting.register(clone.tls, clone.step(), clone)
        ready = [key for key, _ in waiting.select(0.002 if len(clones) < count else 1)]
        # Those that drain do not make the first bytes of others late.
        for key in sorted(ready, key=lambda key: key.data.first_byte_s is not None):
            events = key.data.step()
            if events:
                if events != key.events:
                    waiting.modify(key.fileobj, events, key.data)
            else:
                waiting.unregister(key.fileobj)
                key.data.tls.close()
                ended += 1
    waiting.close()
    return clones


def request(method, path, body=b""):
    head = (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nGit-Protocol: version=2\r\n"
            "User-Agent: git/2.39.5\r\nAccept: */*\r\n")
    if body:
        head += f"Content-Type: application/x-git-upload-pack-request\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def sum_of(weir, file, field):
    total = 0
    for pid in measure.process_tree(weir.process.pid):
        try:
            total += int(re.search(rf"^{field}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/{file}").read_text(),
                                   re.M)[1])
        except (OSError, TypeError):  # it has just ended, or is only a remainder
            continue
    return total


class PeakMemory:
    """The most that all processes of the server hold at once, mapped files aside, in bytes."""

    def __init__(self, weir):
        self.weir, self.stop, self.thread = weir, threading.Event(), threading.Thread(target=self.watch)
        self.before = self.peak = self.now()

    def now(self):
        return 1024 * (sum_of(self.weir, "status", "RssAnon") + sum_of(self.weir, "status", "RssShmem"))

    def watch(self):
        while not self.stop.wait(0.1):
            self.peak = max(self.peak, self.now())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.peak = max(self.peak, self.now())


def metric(weir, series):
    found = re.findall(rf"^{re.escape(series)} (\S+)$", weir.admin("/metrics")[1], re.M)
    return int(float(found[0])) if found else 0


def answers(weir):
    return {result: metric(weir, f'weir_recipe_cache_answers_total{{result="{result}"}}')
            for result in ("miss", "coalesced", "hit", "failed_lately", "refused")}


def make_repository(scratch):
    """About 30 MB with some history."""
    work = make_work_tree(scratch / "work", commits=200)
    for number in range(10):
        commit(work, f"large{number}", os.urandom(3_000_000))
    git("clone", "-q", "--mirror", work, scratch / "repository.git")
    return scratch / "repository.git"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=pathlib.Path)
    parser.add_argument("--clones", type=int, default=100)
    parser.add_argument("--loops", type=int, default=2)
    options = parser.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-herd-"))
    memory = pathlib.Path(tempfile.mkdtemp(prefix="weir-herd-", dir="/dev/shm"))
    weir = PinnedWeir()
    weir.loops = options.loops
    weir.log_path = memory / "requests.log"
    try:
        served = weir.root / "t" / "repository.git"
        served.parent.mkdir()
        git("clone", "-q", "--mirror", "--no-local", options.repository or make_repository(scratch),
            served)
        git("repack", "-q", "-a", "-d", "--write-bitmap-index", cwd=served)
        path = "/t/repository.git/"
        requests = [request("GET", path + "info/refs?service=git-upload-pack"),
                    request("POST", path + "git-upload-pack", LS_REFS),
                    request("POST", path + "git-upload-pack", clone_request(served))]
        static = scratch / "static"
        static.mkdir()
        scratch.chmod(0o755)
        pack, = (served / "objects/pack").glob("*.pack")
        shutil.copy(pack, static / "pack")
        (static / "pack").chmod(0o644)
        for file in (served / "objects/pack").iterdir():
            file.read_bytes()  # the herd is not about the disk
        os.sched_setaffinity(0, {int(measure.CLIENT_CORE)})
        with weir, Nginx(weir.certificate, weir.state / "key.pem", static) as nginx:
            run(weir, nginx, requests, pack.stat().st_size, options)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(memory, ignore_errors=True)


class Side:
    """A herd at a server, then single clones at it."""

    def __init__(self, server, requests, count):
        cpu = server.cpu_seconds()
        self.herd = run_clones(server, requests, count, 1)
        time.sleep(0.2)  # what ended is reaped
        self.cpu = server.cpu_seconds() - cpu
        self.server, self.requests = server, requests

    def then_alone(self):
        cpu = self.server.cpu_seconds()
        alone = [run_clones(self.server, self.requests, 1, 0)[0] for _ in range(SINGLE_CLONES)]
        self.alone_cpu = (self.server.cpu_seconds() - cpu) / SINGLE_CLONES
        sizes = [clone.body.bytes for clone in self.herd + alone]
        assert max(sizes) - min(sizes) < max(sizes) / 100, f"not all had the same: {set(sizes)}"
        self.alone_first_ms = statistics.median(clone.first_byte_s * 1000 for clone in alone)

    def rows(self):
        first = sorted(clone.first_byte_s * 1000 for clone in self.herd)
        p99 = first[int(0.99 * (len(first) - 1))]
        return [f"{self.cpu:.2f}", f"{self.cpu / (len(self.herd) * self.alone_cpu):.2f}",
                f"{statistics.median(first):.1f}", f"{p99:.1f}", f"{self.alone_first_ms:.1f}",
                f"{p99 / self.alone_first_ms:.1f}", f"{max(clone.wall_s for clone in self.herd):.2f}"]


def run(weir, nginx, requests, pack_bytes, options):
    # Connections, refs and the log are warmed; nothing is planned by it.
    run_clones(weir, requests[:2], 5, 0)
    assert sum(answers(weir).values()) == 0
    written = sum_of(weir, "io", "write_bytes")
    with PeakMemory(weir) as grown:
        ours = Side(weir, requests, options.clones)
    written = sum_of(weir, "io", "write_bytes") - written
    plans, said = metric(weir, "weir_planner_plans_total"), answers(weir)
    run_clones(nginx, [request("GET", "/pack")], 1, 0)
    theirs = Side(nginx, [request("GET", "/pack")], options.clones)
    for side in (ours, theirs):
        side.then_alone()

    names = ["CPU s, all clones", "CPU x as many clones one at a time", "first byte of a pack ms: median",
             "p99", "one at a time, median", "p99 x one at a time", "wall s of the slowest"]
    targets = ["", "<= 1.05", "", "", "", "<= 2", ""]
    megabytes = (grown.peak - grown.before) / 2**20
    rows = [
        ["plans made", plans, "", "1"],
        ["answered by " + ", ".join(said), ", ".join(map(str, said.values())), "", ""],
        ["written to disk, bytes", written, "", "0"],
        ["memory at its peak beyond before, MiB", f"{megabytes:.1f}", "",
         f"<= {64 + 0.6 * options.clones:.0f}"],
        *zip(names, ours.rows(), theirs.rows(), targets),
    ]
    measure.publish("herd", measure.table(
        f"{options.clones} clones begun within a second, pack of {pack_bytes / 1e6:.1f} MB, "
        f"{options.loops} loops (`perf/herd.py`)", ["what", "Weir", "nginx static", "target"], rows))


if __name__ == "__main__":
    main()
