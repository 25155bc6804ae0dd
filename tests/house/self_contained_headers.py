"""Every header of ours compiles alone: nobody depends on what another include brought along.

usage: self_contained_headers.py SOURCE_DIR COMPILER
"""
import concurrent.futures
import pathlib
import subprocess
import sys


def compile_alone(job):
    root, compiler, header = job
    name = str(header.relative_to(root))
    result = subprocess.run(
        [compiler, "-std=c++23", "-fsyntax-only", "-x", "c++", f"-I{root}", "-include", name, "/dev/null"],
        capture_output=True, text=True)
    return name, result.returncode, result.stderr


def main():
    root, compiler = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    headers = [path for folder in ("io", "http", "git", "ratelimit", "server")
               for path in sorted((root / folder).glob("*.h"))]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(compile_alone, [(root, compiler, header) for header in headers]))
    failed = [(name, errors) for name, status, errors in results if status != 0]
    for name, errors in failed:
        print(f"{name} does not compile alone:\n{errors}")
    print(f"{len(results)} headers, {len(failed)} not self-contained")
    return 1 if failed or not results else 0


sys.exit(main())
