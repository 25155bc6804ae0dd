#!/usr/bin/env python3
"""Fetches of clients that are some commits behind: the bytes of planned packs beside those of git.

Plans as a planner does (tests/git/plan_tool), the same request several times in one process, since deltas found
are kept: the first and the median of the others. git: pack-objects with and without bitmaps, one thread, CPU of its
process. Thin packs with distances; each repository as it is. Prints a table and writes it to perf/README.md.

usage: compare_packs.py --repository BARE... [--behind 10 100 1000] [--runs 5]
"""
import argparse
import pathlib
import re
import resource
import statistics
import subprocess
import tempfile

import measure

PLAN_TOOL = measure.ROOT / "build/release/tests/git/plan_tool"


def git(repository, *arguments, **options):
    return subprocess.run(["git", "-C", repository, *arguments], check=True, capture_output=True, **options).stdout


def planned(repository, want, have, runs):
    """Bytes and CPU in ms of each answer, the opening of the repository left out."""
    with tempfile.NamedTemporaryFile("w") as tips:
        tips.write(git(repository, "for-each-ref", "--format=%(objectname)").decode())
        tips.flush()
        out = subprocess.run([PLAN_TOOL, repository, tips.name], check=True, capture_output=True, text=True,
                             input=f"want {want} ofs thin have {have}\n" * runs).stdout
    return [(int(size), int(cpu_us) / 1000) for size, cpu_us in re.findall(r" bytes=(\d+) .* cpu_us=(\d+) ", out)]


def children_ms():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (usage.ru_utime + usage.ru_stime)


def packed_by_git(repository, want, have, bitmaps, runs):
    """Bytes and the median CPU in ms."""
    cpu_ms = []
    for _ in range(runs):
        before = children_ms()
        pack = git(repository, "-c", f"pack.useBitmaps={bitmaps}", "-c", "pack.threads=1", "pack-objects", "--revs",
                   "--stdout", "--thin", "--delta-base-offset", "-q", input=f"{want}\n^{have}\n".encode())
        cpu_ms.append(children_ms() - before)
    return len(pack), statistics.median(cpu_ms)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", nargs="+", required=True)
    parser.add_argument("--behind", nargs="+", type=int, default=[10, 100, 1000])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for repository in options.repository:
        for behind in options.behind:
            want, have = (git(repository, "rev-parse", name).decode().strip()
                          for name in ("HEAD", f"HEAD~{behind}"))
            ours = planned(repository, want, have, options.runs + 1)
            with_bitmaps, without = (packed_by_git(repository, want, have, bitmaps, options.runs)
                                     for bitmaps in ("true", "false"))
            size, first_ms = ours[0]
            again_ms = statistics.median(cpu_ms for _, cpu_ms in ours[1:])
            rows.append((pathlib.Path(repository).stem, behind, size, f"{size / with_bitmaps[0]:.2f}",
                         f"{size / without[0]:.2f}", f"{first_ms:.1f}", f"{again_ms:.1f}",
                         f"{with_bitmaps[1]:.1f}", f"{without[1]:.1f}"))
    measure.publish("compare_packs", measure.table("Fetches of what is new (`perf/compare_packs.py`)", (
        "repository", "commits behind", "bytes", "x git with its bitmaps (target <= 1.0)",
        "x git without (target <= 2.0)", "CPU ms the first time", "again", "git with bitmaps, CPU ms", "without"), rows))


if __name__ == "__main__":
    main()
