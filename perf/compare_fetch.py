#!/usr/bin/env python3
"""Fetches that are not whole clones: one branch, the last commit alone, 10, 100 and 1000 commits behind.

Weir over TLS, first time (a server that was just started, page cache warm) and again, against `git upload-pack`
into a pipe, which encrypts nothing; CPU of all processes and bytes of the answer, in both layouts: as a clone
received the repository, and repacked with a bitmap. Prints ratios and writes them to perf/README.md.

usage: compare_fetch.py --repository BARE.git [--runs 5] [--again 20]
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

import measure
from compare_refs import pkt
from peers import PinnedWeir
from weir_server import GIT_ENVIRONMENT, git


def cpu_ms(pid):
    """Of all threads of the tree; finer than the ticks of /proc/*/stat."""
    total = 0
    for one in measure.process_tree(pid):
        try:
            for task in pathlib.Path(f"/proc/{one}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e6


def request_of(want, arguments):
    request = pkt(b"command=fetch") + pkt(b"object-format=sha1") + b"0001" + pkt(b"ofs-delta")
    request += pkt(b"no-progress") + pkt(b"thin-pack") + pkt(b"want " + want.encode() + b"\n")
    for argument in arguments:
        request += pkt(argument.encode() + b"\n")
    return request + pkt(b"done\n") + b"0000"


def shapes(served):
    head = git("rev-parse", "HEAD", cwd=served).out.strip()
    found = {"one branch": request_of(head, []), "depth 1": request_of(head, ["deepen 1"])}
    for behind in (10, 100, 1000):
        have = git("rev-parse", f"HEAD~{behind}", cwd=served).out.strip()
        found[f"{behind} commits behind"] = request_of(head, [f"have {have}"])
    return found


def ask_weir(weir, body, times):
    """CPU milliseconds an answer and bytes of one."""
    command = measure.on_client_core(
        ["curl", "--http1.1", "--cacert", weir.certificate, "-sS", "--fail", "-H",
         "Content-Type: application/x-git-upload-pack-request", "-H", "Git-Protocol: version=2",
         "--data-binary", f"@{body}", "-o", "/dev/null", "-w", "%{size_download}\\n"])
    url = f"https://localhost:{weir.port}/t/repository.git/git-upload-pack"
    before = cpu_ms(weir.process.pid)
    out = subprocess.run(command + [url], check=True, capture_output=True, text=True).stdout
    for _ in range(times - 1):
        subprocess.run(command + [url], check=True, capture_output=True)
    return (cpu_ms(weir.process.pid) - before) / times, int(out)


def ask_git(repository, body):
    with open(body, "rb") as request:
        child = subprocess.Popen(
            measure.on_server_core(["git", "-c", "pack.threads=1", "upload-pack", "--stateless-rpc",
                                    repository]),
            stdin=request, stdout=subprocess.PIPE,
            env={**GIT_ENVIRONMENT, "GIT_PROTOCOL": "version=2"})
        size = 0
        while part := child.stdout.read(1 << 20):
            size += len(part)
        _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    return (usage.ru_utime + usage.ru_stime) * 1000, size


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", required=True, type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--again", type=int, default=20)
    options = parser.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-fetch-"))
    source = scratch / "received.git"
    git("clone", "-q", "--mirror", "--no-local", options.repository, source)
    name = next(line for line in git("count-objects", "-v", cwd=source).out.splitlines()
                if line.startswith("in-pack")).replace("in-pack:", "objects:")
    without_bitmap = {}
    for layout in ("as received", "bitmapped"):
        if layout == "bitmapped":
            git("repack", "-q", "-a", "-d", "--write-bitmap-index", cwd=source)
        rows = []
        for shape, request in shapes(source).items():
            rows.append(compare(options, scratch, source, shape, request, without_bitmap))
            print(layout, shape, flush=True)
        measure.publish("compare_fetch " + layout + " " + name, measure.table(
            f"Fetches, {layout}, {name} (`perf/compare_fetch.py`)",
            ["fetch", "Weir CPU ms, first", "again", "git CPU ms", "first x git", "again x git",
             "Weir KB", "git KB", "bytes x git", "bytes x git without bitmap"], rows))
    shutil.rmtree(scratch, ignore_errors=True)


def compare(options, scratch, source, shape, request, without_bitmap):
    body = scratch / "request"
    body.write_bytes(request)
    first, again, theirs = [], [], []
    size = their_size = 0
    for _ in range(options.runs):
        with PinnedWeir() as weir:
            (weir.root / "t").mkdir()
            shutil.copytree(source, weir.root / "t" / "repository.git", copy_function=os.link)
            cpu, size = ask_weir(weir, body, 1)
            first.append(cpu)
            cpu, _ = ask_weir(weir, body, options.again)
            again.append(cpu)
            planned = weir.admin("/metrics")[1]
            assert f'weir_fetch_plans_total{{result="planned"}} {options.again + 1}' in planned, shape
        cpu, their_size = ask_git(source, body)
        theirs.append(cpu)
    without_bitmap.setdefault(shape, their_size)  # the first layout has none
    base = statistics.median(theirs)
    return [shape, measure.summary(first), measure.summary(again), measure.summary(theirs),
            f"{statistics.median(first) / base:.3f}", f"{statistics.median(again) / base:.3f}",
            f"{size / 1000:.1f}", f"{their_size / 1000:.1f}", f"{size / their_size:.2f}",
            f"{size / without_bitmap[shape]:.2f}"]


if __name__ == "__main__":
    main()
