"""Every header of ours compiles alone: nobody depends on what another include brought along.

A source whose first include is a header shows that by being built; the other headers are compiled here.

usage: self_contained_headers.py SOURCE_DIR COMPILER
"""
import concurrent.futures
import pathlib
import re
import subprocess
import sys

FOLDERS = ("io", "http", "git", "server")


def first_include(source):
    found = re.search(r"^#include (.*)$", source.read_text(), re.M)
    return found.group(1).strip('"') if found else None


def compile_alone(job):
    root, compiler, name = job
    result = subprocess.run(
        [compiler, "-std=c++23", "-fsyntax-only", "-x", "c++", f"-I{root}", "-include", name, "/dev/null"],
        capture_output=True, text=True)
    return name, result.returncode, result.stderr


def main():
    root, compiler = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    headers = {str(path.relative_to(root)) for folder in FOLDERS for path in (root / folder).glob("*.h")}
    built = {first_include(source) for folder in FOLDERS
             for source in [*(root / folder).glob("*.cc"), *(root / "tests" / folder).glob("*.cc")]}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(compile_alone, [(root, compiler, name) for name in sorted(headers - built)]))
    failed = [(name, errors) for name, status, errors in results if status != 0]
    for name, errors in failed:
        print(f"{name} does not compile alone:\n{errors}")
    print(f"{len(headers)} headers, {len(results)} of them compiled here, {len(failed)} not self-contained")
    return 1 if failed or not headers else 0


sys.exit(main())
