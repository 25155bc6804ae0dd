#!/usr/bin/env python3
"""Small answers: v2 capability advertisement and one-prefix ls-refs.

Weir against nginx serving a static file of the same size, and against nginx + git http-backend; h2load over
TLS. Prints requests/s and server CPU per request, as ratios, and writes them to perf/README.md.

usage: compare_refs.py [--runs 5] [--requests 20000]
"""
import argparse
import pathlib
import re
import subprocess
import tempfile

import measure
from peers import Nginx, PinnedWeir
from weir_server import git, make_work_tree

def pkt(text):
    return b"%04x%s" % (len(text) + 4, text)


LS_REFS = (pkt(b"command=ls-refs\n") + pkt(b"object-format=sha1") + b"0001" + pkt(b"peel\n") +
           pkt(b"symrefs\n") + pkt(b"ref-prefix refs/heads/main\n") + b"0000")


def h2load(url, requests, http1, body=None, headers=()):
    command = ["h2load", "-n", requests, "-c", 16, "-m", 1, "-t", 1]
    if http1:
        command.append("--h1")
    for header in headers:
        command += ["-H", header]
    if body:
        command += ["-d", body]
    out = subprocess.run(measure.on_client_core([*command, url]), check=True, capture_output=True,
                         text=True).stdout
    good = int(re.search(r"status codes: (\d+) 2xx", out).group(1))
    assert good == requests, out
    return float(re.search(r"finished in .*?, ([\d.]+) req/s", out).group(1))


def run(server, url, requests, **options):
    before = server.cpu_seconds()
    rate = h2load(url, requests, **options)
    cpu_us = (server.cpu_seconds() - before) * 1e6 / requests
    return rate, cpu_us


def curl(certificate, url, *arguments):
    return subprocess.run(["curl", "-sS", "--fail", "--cacert", certificate, *arguments, url],
                          check=True, capture_output=True).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20000)
    options = parser.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-refs-"))
    static = scratch / "static"
    static.mkdir()
    static.chmod(0o755)
    scratch.chmod(0o755)
    body = scratch / "ls-refs"
    body.write_bytes(LS_REFS)
    post = ["Content-Type: application/x-git-upload-pack-request"]
    v2 = ["Git-Protocol: version=2"]
    with PinnedWeir() as weir:
        token = weir.add_token()
        weir.reload()
        work = make_work_tree(scratch / "work", commits=20)
        plain = weir.make_repository("t/plain.git")
        git("push", "-q", "--mirror", plain, cwd=work)
        loose = weir.make_repository("t/loose.git")
        git("push", "-q", "--mirror", loose, cwd=work)
        tip = git("rev-parse", "main", cwd=loose).out.strip()
        for number in range(500):
            git("update-ref", f"refs/changes/{number:03}/1", tip, cwd=loose)
        advertisement = "info/refs?service=git-upload-pack"
        cases = [
            ("v2 advertisement", "t/plain.git/" + advertisement, None, v2),
            ("ls-refs, one prefix", "t/plain.git/git-upload-pack", body, v2 + post),
            ("ls-refs, with a token", "t/plain.git/git-upload-pack", body,
             v2 + post + [f"Authorization: Bearer {token}"]),
            ("ls-refs, 500 loose-ref directories", "t/loose.git/git-upload-pack", body, v2 + post),
        ]
        key = weir.state / "key.pem"
        rows = []
        with Nginx(weir.certificate, key, static, repositories=weir.root) as nginx:
            for name, path, data, headers in cases:
                weir_url = f"https://localhost:{weir.port}/{path}"
                header_options = [word for header in headers for word in ("-H", header)]
                data_options = ["--data-binary", f"@{data}"] if data else []
                answer = curl(weir.certificate, weir_url, *header_options, *data_options)
                (static / "answer").write_bytes(answer)
                static_url = f"https://localhost:{nginx.port}/answer"
                backend_url = f"https://localhost:{nginx.port}/git/{path}"
                backend_headers = [header for header in headers if "Authorization" not in header]
                for http1 in (True, False):
                    sides = {"weir": [], "static": [], "backend": []}
                    for _ in range(options.runs):
                        sides["weir"].append(run(weir, weir_url, options.requests, http1=http1,
                                                 body=data, headers=headers))
                        sides["static"].append(run(nginx, static_url, options.requests,
                                                   http1=http1))
                        sides["backend"].append(run(nginx, backend_url, 200, http1=http1, body=data,
                                                    headers=backend_headers))
                    rate = {side: [one[0] for one in runs] for side, runs in sides.items()}
                    cpu = {side: [one[1] for one in runs] for side, runs in sides.items()}
                    rows.append([
                        name, "HTTP/1.1" if http1 else "HTTP/2", len(answer),
                        measure.summary(rate["weir"]), measure.summary(rate["static"]),
                        f"**{measure.ratio(rate['weir'], rate['static']):.2f}**",
                        measure.summary(cpu["weir"]), measure.summary(cpu["static"]),
                        f"**{measure.ratio(cpu['weir'], cpu['static']):.2f}**",
                        f"{measure.ratio(rate['weir'], rate['backend']):.0f}"])
                    print(rows[-1], flush=True)
    measure.publish("compare_refs", measure.table(
        "Small answers over TLS (`perf/compare_refs.py`)",
        ["answer", "HTTP", "bytes", "Weir req/s", "nginx static req/s", "ratio (target >= 1.0)",
         "Weir CPU us", "nginx CPU us", "ratio (target <= 1.0)",
         "x nginx + http-backend (target >= 100)"], rows))


if __name__ == "__main__":
    main()
