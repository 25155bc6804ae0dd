#!/usr/bin/env python3
"""A full clone's bytes: CPU per GB, time to the first byte, wall time.

Weir against nginx serving the same bytes as a static file over TLS, `git upload-pack` into a pipe, which encrypts
nothing, and nginx + git http-backend over TLS. The client drains and does not index. Prints ratios and writes
them to perf/README.md. Every clone of Weir must have been planned: git answers none.

Twice: the repository as a clone received it, and repacked with a bitmap.

usage: compare_clone.py --repository BARE.git [--runs 5]
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import measure
from compare_refs import pkt
from peers import Nginx, PinnedWeir
from weir_server import GIT_ENVIRONMENT, git


def clone_request(repository):
    tips = set(git("for-each-ref", "--format=%(objectname)", "refs/heads", "refs/tags",
                   cwd=repository).out.split())
    request = pkt(b"command=fetch") + pkt(b"object-format=sha1") + b"0001" + pkt(b"ofs-delta")
    request += pkt(b"no-progress")
    for tip in sorted(tips):
        request += pkt(b"want " + tip.encode() + b"\n")
    return request + pkt(b"done\n") + b"0000"


def drain_http(server, url, certificate, body, http1):
    """CPU seconds of the server side, seconds to the first byte, wall seconds, bytes."""
    options = ["--http1.1" if http1 else "--http2", "--cacert", certificate, "-sS", "--fail",
               "-o", "/dev/null", "-w", "%{time_starttransfer} %{time_total} %{size_download}"]
    if body:
        options += ["-H", "Content-Type: application/x-git-upload-pack-request", "-H",
                    "Git-Protocol: version=2", "--data-binary", f"@{body}"]
    before = server.cpu_seconds()
    out = subprocess.run(measure.on_client_core(["curl", *options, url]), check=True,
                         capture_output=True, text=True).stdout.split()
    time.sleep(0.1)  # the last child is reaped
    cpu = server.cpu_seconds() - before
    return cpu, float(out[0]), float(out[1]), int(out[2])


def drain_pipe(repository, body):
    reader = subprocess.Popen(measure.on_client_core(["dd", "of=/dev/null", "bs=1M", "status=none"]),
                              stdin=subprocess.PIPE)
    began = time.monotonic()
    with open(body, "rb") as request:
        child = subprocess.Popen(
            measure.on_server_core(["git", "-c", "pack.threads=1", "upload-pack", "--stateless-rpc",
                                    repository]),
            stdin=request, stdout=reader.stdin, env={**GIT_ENVIRONMENT, "GIT_PROTOCOL": "version=2"})
        reader.stdin.close()
        _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    reader.wait()
    return usage.ru_utime + usage.ru_stime, time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", required=True, type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for layout in ("as received", "bitmapped"):
        compare(options, layout)


def compare(options, layout):
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-clone-"))
    static = scratch / "static"
    static.mkdir()
    scratch.chmod(0o755)
    with PinnedWeir() as weir:
        served = weir.root / "t" / "repository.git"
        served.parent.mkdir()
        git("clone", "-q", "--mirror", "--no-local", options.repository, served)
        git("config", "pack.threads", "1", cwd=served)
        if layout == "bitmapped":
            git("repack", "-q", "-a", "-d", "--write-bitmap-index", cwd=served)
        objects = git("count-objects", "-v", cwd=served).out
        body = scratch / "request"
        body.write_bytes(clone_request(served))
        with open(body, "rb") as request, open(static / "answer", "wb") as answer:
            subprocess.run(["git", "upload-pack", "--stateless-rpc", served], stdin=request,
                           stdout=answer, check=True,
                           env={**GIT_ENVIRONMENT, "GIT_PROTOCOL": "version=2"})
        size = (static / "answer").stat().st_size
        key = weir.state / "key.pem"
        rows, sides = [], {}
        with Nginx(weir.certificate, key, static, repositories=weir.root) as nginx, \
                Nginx(weir.certificate, key, static, plain=True) as plain:
            weir_url = f"https://localhost:{weir.port}/t/repository.git/git-upload-pack"
            backend = f"https://localhost:{nginx.port}/git/t/repository.git/git-upload-pack"
            for run in range(options.runs + 1):
                for http1 in (True, False):
                    version = "HTTP/1.1" if http1 else "HTTP/2"
                    results = {
                        "weir": drain_http(weir, weir_url, weir.certificate, body, http1),
                        "nginx + http-backend": drain_http(nginx, backend, weir.certificate, body,
                                                           http1),
                        "nginx static": drain_http(nginx, f"https://localhost:{nginx.port}/answer",
                                                   weir.certificate, None, http1),
                    }
                    if run > 0:  # the first run warms the page cache
                        for side, result in results.items():
                            sides.setdefault((side, version), []).append(result)
                plain_run = drain_http(plain, f"http://localhost:{plain.port}/answer",
                                       weir.certificate, None, True)
                pipe = drain_pipe(served, body)
                if run > 0:
                    sides.setdefault(("nginx static plain", "HTTP/1.1"), []).append(plain_run)
                    sides.setdefault(("git upload-pack, pipe", "-"), []).append(
                        (pipe[0], pipe[1], pipe[1], size))
                print("run", run, "of", options.runs, flush=True)
        clones = 2 * (options.runs + 1)
        planned = f'weir_fetch_plans_total{{result="planned"}} {clones}'
        assert planned in weir.admin("/metrics")[1], "git answered some of the clones"
    gigabytes = size / 1e9
    cpu = {side: [one[0] / gigabytes for one in runs] for side, runs in sides.items()}
    median = lambda side: sorted(cpu[side])[len(cpu[side]) // 2]
    pipe = median(("git upload-pack, pipe", "-"))
    for (side, version), runs in sorted(sides.items()):
        own = median((side, version))
        against = [f"{own / median((other, version)):.2f}" if (other, version) in cpu else ""
                   for other in ("nginx static", "nginx + http-backend")]
        rows.append([side, version, measure.summary(cpu[side, version]), against[0],
                     f"{own / pipe:.2f}", against[1],
                     measure.summary([one[1] * 1000 for one in runs]),
                     measure.summary([one[2] for one in runs])])
    count = next(line for line in objects.splitlines() if line.startswith("in-pack"))
    count = count.replace("in-pack:", "objects:")
    measure.publish("compare_clone " + layout, measure.table(
        f"Full clone, {layout}, {size / 1e6:.1f} MB, {count} (`perf/compare_clone.py`)",
        ["side", "HTTP", "CPU-s per GB", "x nginx static (Weir: target <= 1.10)",
         "x git, pipe (Weir: target <= 0.20)", "x nginx + http-backend", "first byte ms", "wall s"],
        rows))
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
