"""The rules of the house that a reader can check by grep, checked on every test run.

usage: house_rules.py SOURCE_DIR
"""
import pathlib
import re
import subprocess
import sys

FOLDERS = ["io", "http", "git", "server"]
MAY_INCLUDE = {
    "io": {"io"},
    "http": {"io", "http"},
    "git": {"io", "git"},
    "server": {"io", "http", "git", "server"},
}
# A third-party header and the only files that may include it.
CONFINED = {
    r"liburing\.h": r"io/uring_",
    r"sys/epoll\.h": r"io/epoll_set\.h",
    r"openssl/": r"io/(tls_|digest)",
    r"seccomp\.h": r"io/syscall_filter",
    r"linux/landlock\.h": r"io/child_sandbox",
    r"nghttp2/": r"http/http2_",
    r"zlib\.h": r"(http/gzip_|git/object_codec)",
    r"libdeflate\.h": r"git/object_codec",
    r"git2": r"git/worker_",
    r"toml\+\+": r"server/config",
    r"CLI/": r"server/(main|token_command)",
    r"nlohmann/": r"server/",
    r"jemalloc/": r"server/",
}
LINES_MAX = 700
COLUMNS_MAX = 100
FORBIDDEN = [
    (r"\b(TODO|FIXME|XXX|HACK)\b", "unfinished work belongs in docs/roadmap.md"),
    (r"^\s*using namespace (?!std::chrono_literals)", "no using-directives"),
    (r"#include <(format|print|generator)>", "not in this standard library"),
]


def sources(root):
    listed = subprocess.run(["git", "-C", root, "ls-files", "*.h", "*.cc"],
                            capture_output=True, text=True)
    names = listed.stdout.split() if listed.returncode == 0 else []
    return [root / name for name in names] or sorted(
        path for folder in FOLDERS + ["tests", "perf"] for path in (root / folder).rglob("*.[hc]*"))


def check(root, path, problems):
    name = str(path.relative_to(root))
    folder = name.split("/")[0]
    lines = path.read_text().splitlines()
    if len(lines) > LINES_MAX:
        problems.append(f"{name}: {len(lines)} lines, at most {LINES_MAX}: split it by noun")
    if name.endswith(".h") and (not lines or lines[0] != "#pragma once"):
        problems.append(f"{name}:1: a header begins with #pragma once")
    for number, line in enumerate(lines, 1):
        where = f"{name}:{number}"
        if len(line) > COLUMNS_MAX:
            problems.append(f"{where}: {len(line)} columns, at most {COLUMNS_MAX}")
        for pattern, why in FORBIDDEN:
            if re.search(pattern, line):
                problems.append(f"{where}: {why}: {line.strip()}")
        ours = re.match(r'#include "([a-z0-9_]+)/', line)
        if ours and folder in MAY_INCLUDE and ours.group(1) not in MAY_INCLUDE[folder]:
            problems.append(f"{where}: {folder}/ may not include {ours.group(1)}/")
        theirs = re.match(r"#include <([^>]+)>", line)
        if theirs and folder in MAY_INCLUDE:
            for header, allowed in CONFINED.items():
                if re.match(header, theirs.group(1)) and not re.match(allowed, name):
                    problems.append(f"{where}: <{theirs.group(1)}> belongs to {allowed}")


def unformatted(root, files):
    result = subprocess.run(["clang-format-19", "--dry-run", "--ferror-limit=1", *files], cwd=root,
                            capture_output=True, text=True)
    if result.returncode != 0:
        return [f"clang-format-19 failed: {result.stderr.strip()}"]
    return [f"{pathlib.Path(name).relative_to(root)}:{line}: not as clang-format-19 writes it"
            for name, line in re.findall(r"^(/.+?):(\d+):\d+: .*-Wclang-format-violations",
                                         result.stderr, re.M)]


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    files = [path for path in sources(root) if path.exists()]
    problems = unformatted(root, files)
    for path in files:
        check(root, path, problems)
    print("\n".join(problems))
    print(f"{len(files)} files, {len(problems)} problems")
    return 1 if problems or len(files) < 20 else 0


sys.exit(main())
