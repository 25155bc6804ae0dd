#!/usr/bin/env python3
"""What an idle connection costs: growth of PSS of every process of Weir plus the kernel's socket memory.

Each connection does a TLS handshake and one request, then stays idle. Kernel memory is read for the whole
machine and both ends are on it, so half of its growth is counted. Writes to perf/README.md.

usage: idle_connections.py [--connections 10000]
"""
import argparse
import os
import pathlib
import resource
import socket
import ssl
import subprocess
import sys
import time

import measure
from peers import PinnedWeir

PATH = "/acme/nothing.git/info/refs?service=git-upload-pack"
PAGE = os.sysconf("SC_PAGE_SIZE")


def literal(name, value):
    """HPACK literal header field without indexing, new name (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def read_exactly(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        assert more, "the server closed the connection"
        data += more
    return data


def request_http2(connection):
    headers = (literal(b":method", b"GET") + literal(b":scheme", b"https") +
               literal(b":authority", b"localhost") + literal(b":path", PATH.encode()))
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") +
                       frame(1, 5, 1, headers))
    while True:
        head = read_exactly(connection, 9)
        payload = read_exactly(connection, int.from_bytes(head[:3], "big"))
        del payload
        if head[3] == 4 and not head[4] & 1:
            connection.sendall(frame(4, 1, 0, b""))
        if int.from_bytes(head[5:9], "big") == 1 and head[4] & 1:
            return


def request_http1(connection):
    connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(4096)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                  if line.lower().startswith(b"content-length"))
    read_exactly(connection, length - len(body))


def hold(port, certificate, protocol, count):
    """The child: opens the connections, says so, waits for its input to end."""
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols([protocol])
    held = []
    for number in range(count):
        plain = socket.socket()
        plain.bind((f"127.0.1.{number % 200 + 1}", 0))
        plain.connect(("127.0.0.1", port))
        connection = context.wrap_socket(plain, server_hostname="localhost")
        (request_http2 if protocol == "h2" else request_http1)(connection)
        held.append(connection)
    print("open", flush=True)
    sys.stdin.read()


def pss_bytes(root):
    total = 0
    for pid in measure.process_tree(root):
        try:
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines()
                      if line.startswith("Pss:")) * 1024
    return total


def tcp_bytes():
    text = pathlib.Path("/proc/net/sockstat").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("TCP:")).split()[-1]) * PAGE


def grown(protocol, count):
    with PinnedWeir(config="[limits]\nconnections_max = 100000\n") as weir:
        warm = subprocess.run([sys.executable, __file__, "--hold", protocol, str(weir.port),
                               str(weir.certificate), "50"], input=b"", capture_output=True)
        assert warm.returncode == 0, warm.stderr
        time.sleep(7)  # the allocator gives back what the warm-up used
        before, before_kernel = pss_bytes(weir.process.pid), tcp_bytes()
        holder = subprocess.Popen(
            measure.on_client_core([sys.executable, __file__, "--hold", protocol, weir.port,
                                    weir.certificate, count]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout.readline() == b"open\n"
        time.sleep(7)
        pss = pss_bytes(weir.process.pid) - before
        kernel = (tcp_bytes() - before_kernel) / 2
        holder.stdin.close()
        holder.wait()
        return pss / count / 1024, kernel / count / 1024


def main():
    if len(sys.argv) > 2 and sys.argv[1] == "--hold":
        return hold(int(sys.argv[3]), sys.argv[4], sys.argv[2], int(sys.argv[5]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=10000)
    options = parser.parse_args()
    files = 2 * options.connections + 10_000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # needs root
    rows = []
    for protocol, name, target in (("http/1.1", "HTTP/1.1", 20), ("h2", "HTTP/2", 48)):
        pss, kernel = grown(protocol, options.connections)
        rows.append([name, options.connections, f"{pss:.1f}", f"{kernel:.1f}",
                     f"**{pss + kernel:.1f}**", target])
    measure.publish("idle_connections", measure.table(
        "Idle TLS connections (`perf/idle_connections.py`)",
        ["HTTP", "connections", "PSS KiB each", "kernel KiB each", "sum", "target <="], rows))
    return None


if __name__ == "__main__":
    main()
