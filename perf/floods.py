#!/usr/bin/env python3
"""What a well-behaved client feels while others flood: p50 and p99 of its ls-refs at a fixed rate, alone and beside
each flood of the abuse tests, and what the flood costs. Writes to perf/README.md.

The server has a core of its own; client and flooder share the other, the client with real-time priority, so that the
flooder's own work is not what is measured: the row of a process that only computes shows what is left of it. A request
counts from the moment it was due. Windows alone lie between those beside floods; a figure is the median (min..max) of
its windows. A flood is started anew for each window and goes on, connection after connection, until it is killed.

usage: floods.py [--rounds 3] [--seconds 1] [--rate 200] [--own-core] [--only NAME]
"""
import argparse
import contextlib
import json
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import time
import types

import measure
from peers import PinnedWeir

import raw_client as raw
from abuse_case import REFS, UPLOAD, body_request, pkt, request, v2_fetch
from hostile_bytes import HALF_A_HELLO, HTTP2_FLOODS, gzip_bomb
from raw_client import Connection, Http2Connection
from weir_server import git, make_work_tree

LS_REFS = pkt("command=ls-refs") + b"0001" + pkt("ref-prefix refs/heads/main") + b"0000"
ASK = body_request("Git-Protocol: version=2", f"Content-Length: {len(LS_REFS)}", body=LS_REFS)
MANY_REFS = 5000     # makes an advertisement that fills what a client does not read
SLOW_CONNECTIONS = 200
HALF_OPEN = 10_000
VICTIM_PRIORITY = SERVER_PRIORITY = 10  # of SCHED_FIFO


# --- the well-behaved client ---------------------------------------------------------------------------

def answer(connection):
    """Reads one answer; its status."""
    head, _, body = connection.read_until(b"\r\n\r\n").partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields.get(b"content-length", -1))
    while len(body) < length if length >= 0 else not body.endswith(b"0\r\n\r\n"):
        more = connection.read()
        assert more, "the server closed"
        body += more
    return raw.status_of(head)


def victim(weir):
    """A child: for each line "SECONDS RATE" of its input a line of JSON with every request's microseconds."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(VICTIM_PRIORITY))
    except PermissionError:
        print("no real-time priority: the figures hold the flooder's own work, too", file=sys.stderr)
    for line in sys.stdin:
        seconds, rate = map(float, line.split())
        with Connection(weir) as connection:
            for _ in range(10):
                connection.send(ASK)
                answer(connection)
            taken, start = [], time.monotonic() + 0.01
            for number in range(int(seconds * rate)):
                due = start + number / rate
                if (early := due - time.monotonic()) > 0:
                    time.sleep(early)
                    due = time.monotonic()  # how late a timer fires is not the server's doing
                connection.send(ASK)
                assert answer(connection) == 200
                taken.append(round((time.monotonic() - due) * 1e6))
        print(json.dumps(taken), flush=True)


class Victim:
    def __init__(self, weir):
        self.process = subprocess.Popen(
            measure.on_client_core([sys.executable, __file__, "--victim", weir.port, weir.certificate]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def window(self, options):
        print(options.seconds, options.rate, file=self.process.stdin, flush=True)
        taken = sorted(json.loads(self.process.stdout.readline()))
        return taken[len(taken) // 2], taken[len(taken) * 99 // 100]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# --- floods: each goes on until it is killed; says when it has begun -------------------------------------

def begun():
    print("begun", flush=True)


def again_and_again(act):
    begun()
    while True:
        with contextlib.suppress(OSError, AssertionError):
            act()


def http2(flood):
    def act(weir):
        with Http2Connection(weir, settings=flood.settings) as h2:
            h2.flood(flood.frames())
    return lambda weir: again_and_again(lambda: act(weir))


def handshakes(weir):
    again_and_again(lambda: Connection(weir).close())


def plain_connections(weir):
    def act():
        socket.create_connection(("127.0.0.1", weir.port)).close()
    again_and_again(act)


def half_open_handshakes(weir):
    """So many held at once; who is closed comes back."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * HALF_OPEN, max(2 * HALF_OPEN, resource.getrlimit(
        resource.RLIMIT_NOFILE)[1])))
    poll, held = select.epoll(), {}

    def open_one(number):
        plain = socket.socket()
        plain.bind((f"127.0.1.{number % 200 + 1}", 0))
        plain.connect(("127.0.0.1", weir.port))
        plain.send(HALF_A_HELLO)
        held[plain.fileno()] = plain
        poll.register(plain, select.EPOLLIN | select.EPOLLRDHUP)

    for number in range(HALF_OPEN):
        with contextlib.suppress(OSError):
            open_one(number)
    begun()
    while True:
        for number, _ in poll.poll():
            held.pop(number).close()
            with contextlib.suppress(OSError):
                open_one(number)


def slowly(head, read=True):
    """Connections that send `head`, then a byte now and then; `read` False: they take no answer either."""
    def flood(weir):
        connections = []
        for _ in range(SLOW_CONNECTIONS):
            connections.append(Connection(weir))
            connections[-1].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connections[-1].send(head)
        begun()
        while True:
            for connection in connections:
                if read:
                    connection.send(b"a")
                time.sleep(0.001)
    return flood


def gzip_bombs(weir):
    body = gzip_bomb(v2_fetch("want " + "12" * 20 + "\n"), 100)

    def act():
        raw.post(weir, UPLOAD, body, "Content-Type: application/x-git-upload-pack-request", "Git-Protocol: version=2",
                 "Content-Encoding: gzip")
    again_and_again(act)


def malformed_heads(weir):
    def act():
        with Connection(weir) as connection:
            connection.send(request("A: " + "b" * 40_000))
            connection.read_to_end()
    again_and_again(act)


def only_computing(_):
    begun()
    while True:
        sum(range(1000))


def another_client(weir):
    """As fast as it can, and well-behaved."""
    with Connection(weir) as connection:
        begun()
        while True:
            connection.send(ASK)
            answer(connection)


FLOODS = {
    "(a process that only computes)": only_computing,
    "(another client, as fast as it can)": another_client,
    **{flood.name: http2(flood) for flood in HTTP2_FLOODS},
    "heads over every limit": malformed_heads,
    "gzip bombs": gzip_bombs,
    "slow heads": slowly(f"GET {REFS} HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".encode()),
    "slow bodies": slowly(body_request("Content-Length: 100000")),
    "answers not read": slowly(b"".join([request()] * 20), read=False),
    f"{HALF_OPEN} half-open handshakes": half_open_handshakes,
    "connections without a word": plain_connections,
    "handshakes without a request": handshakes,
}


@contextlib.contextmanager
def flooding(name, weir, first):
    flooder = subprocess.Popen(
        measure.on_client_core([*(["nice", "-n", "-10"] if first else []), sys.executable, __file__, "--flood", name,
                                weir.port, weir.certificate]),
        stdout=subprocess.PIPE)
    try:
        assert flooder.stdout.readline() == b"begun\n", name
        yield
        assert flooder.poll() is None, f"{name}: the flooder ended by itself"
    finally:
        flooder.kill()
        flooder.wait()


# --- the measurement -----------------------------------------------------------------------------------

class Row:
    def __init__(self):
        self.p50, self.p99, self.cpu, self.grown = [], [], [], []

    def measure(self, weir, pid, client, options):
        rss, cpu, began = raw.rss_bytes(pid), weir.cpu_seconds(), time.monotonic()
        p50, p99 = client.window(options)
        self.cpu.append((weir.cpu_seconds() - cpu) / (time.monotonic() - began) * 100)
        self.p50.append(p50)
        self.p99.append(p99)
        self.grown.append((raw.rss_bytes(pid) - rss) / (1 << 20))


def serve_repository(weir):
    work = make_work_tree(weir.folder / "work")
    served = weir.make_repository("acme/site.git")
    git("push", "-q", "--mirror", served, cwd=work)
    main = git("rev-parse", "main", cwd=work).out.strip()
    (served / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" + "".join(
        f"{main} refs/many/{number:06}\n" for number in range(MANY_REFS)))


def put_first(root, priority):
    """Every thread there is of a tree of processes."""
    for pid in measure.process_tree(root):
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))


def main():
    if sys.argv[1:2] == ["--victim"]:
        return victim(types.SimpleNamespace(port=int(sys.argv[2]), certificate=sys.argv[3]))
    if sys.argv[1:2] == ["--flood"]:
        return FLOODS[sys.argv[2]](types.SimpleNamespace(port=int(sys.argv[3]), certificate=sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--own-core", action="store_true",
                        help="the server and the flooder before all others: for a machine that others use")
    parser.add_argument("--only", help="one flood; nothing is written")
    options = parser.parse_args()
    names = [options.only] if options.only else list(FLOODS)
    alone, beside = Row(), {name: Row() for name in names}
    with PinnedWeir() as weir:
        serve_repository(weir)
        pid, client = raw.serving_pid(weir), Victim(weir)
        if options.own_core:
            put_first(weir.process.pid, SERVER_PRIORITY)
        client.window(options)
        first_rss = raw.rss_bytes(pid)
        for _ in range(options.rounds):
            for name in names:
                alone.measure(weir, pid, client, options)
                with flooding(name, weir, options.own_core):
                    beside[name].measure(weir, pid, client, options)
                time.sleep(0.3)  # the server sees that they are gone
        for _ in range(10):  # meanwhile the allocator gives back what floods used
            client.window(options)
        last_rss = raw.rss_bytes(pid)
        client.close()
    rows = [["alone", measure.summary(alone.p50), measure.summary(alone.p99), "", "", f"{statistics.median(alone.cpu):.0f}",
             ""]]
    for name in names:
        row = beside[name]
        rows.append([name, measure.summary(row.p50), measure.summary(row.p99),
                     f"{measure.ratio(row.p50, alone.p50):.2f}", f"**{measure.ratio(row.p99, alone.p99):.2f}**",
                     f"{statistics.median(row.cpu):.0f}", f"{row.grown[0]:.1f}, {row.grown[-1]:.1f}"])
    text = measure.table(
        f"ls-refs at {options.rate:.0f}/s beside floods (`perf/floods.py`)",
        ["beside", "p50 us", "p99 us", "p50 x alone", "p99 x alone (target <= 1.1)", "server CPU %",
         "RSS MiB grown, first and last time"], rows)
    text += (f"\nRSS of the serving process: {first_rss >> 20} MiB before, {last_rss >> 20} MiB after all rounds and "
             f"ten quiet windows.{' The server and the flooder ran before all others of a busy machine.' * options.own_core}\n")
    print(text) if options.only else measure.publish("floods", text)
    return None


if __name__ == "__main__":
    main()
