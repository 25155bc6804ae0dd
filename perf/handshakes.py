#!/usr/bin/env python3
"""TLS handshakes: server CPU each, full (TLS 1.3) and resumed (TLS 1.2 tickets), against nginx with the same
P-256 certificate. Writes to perf/README.md.

usage: handshakes.py [--seconds 5] [--runs 3]
"""
import argparse
import pathlib
import re
import subprocess
import tempfile

import measure
from peers import Nginx, PinnedWeir


def run(server, seconds, arguments):
    before = server.cpu_seconds()
    out = subprocess.run(
        measure.on_client_core(["openssl", "s_time", "-connect", f"127.0.0.1:{server.port}",
                                "-time", seconds, *arguments]),
        capture_output=True, text=True).stdout
    count = int(re.search(r"(\d+) connections in \d+ real seconds", out).group(1))
    assert count > 0, out
    return (server.cpu_seconds() - before) * 1e6 / count, count / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    static = pathlib.Path(tempfile.mkdtemp(prefix="weir-handshakes-"))
    static.chmod(0o755)
    rows = []
    with PinnedWeir() as weir, \
            Nginx(weir.certificate, weir.state / "key.pem", static) as nginx:
        for name, arguments in (("full, TLS 1.3", ["-new", "-tls1_3"]),
                                ("resumed, TLS 1.2", ["-reuse", "-tls1_2"])):
            sides = {"weir": [], "nginx": []}
            for _ in range(options.runs):
                sides["weir"].append(run(weir, options.seconds, arguments))
                sides["nginx"].append(run(nginx, options.seconds, arguments))
            cpu = {side: [one[0] for one in runs] for side, runs in sides.items()}
            rate = {side: [one[1] for one in runs] for side, runs in sides.items()}
            rows.append([name, measure.summary(cpu["weir"]), measure.summary(cpu["nginx"]),
                         f"**{measure.ratio(cpu['weir'], cpu['nginx']):.2f}**",
                         measure.summary(rate["weir"]), measure.summary(rate["nginx"])])
    measure.publish("handshakes", measure.table(
        "TLS handshakes with a P-256 certificate (`perf/handshakes.py`)",
        ["handshake", "Weir CPU us", "nginx CPU us", "ratio", "Weir /s", "nginx /s"], rows))


if __name__ == "__main__":
    main()
