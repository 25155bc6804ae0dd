#!/usr/bin/env python3
"""Throws random fetches of random repositories at the planner and has real git judge the packs that come back.

usage: plan_oracle.py [--seed FIRST] [--requests N] [--per-repository N] [--request K] [--through K] [--keep]
  --seed S --request K      asks only request K of repository S; --through K all up to it; --keep leaves the files there
The tool is the one built beside WEIR_BINARY (default: that of build/release).
"""
import argparse
import collections
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time

from plan_judge import FOR_GIT, Failure, Judge, Subject, Verdict
from plan_request import RequestMaker
from repository_maker import damage, make
from weir_server import BINARY

PLAN_TOOL = BINARY.parents[1] / "tests/git/plan_tool"
ANSWER_SECONDS_MAX = 60
FAILURES_MAX = 20
THOROUGH_EVERY = 8
DULL_REQUESTS = 10  # to a repository that gives all of them one answer
DAMAGED_EVERY = 7  # repositories


class NotOpened(Exception):
    """The tool found nothing that it could begin with."""


class Tool:
    """The planner, asked line by line; it keeps what it worked out from one request to the next."""

    def __init__(self, subject):
        self.errors = open(subject.folder / "plan_tool.log", "w+b")
        self.process = subprocess.Popen(
            [PLAN_TOOL, str(subject.made.path), str(subject.tips_file), subject.made.object_format],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, bufsize=0)

    def ask(self, request, path):
        line = f"{request.line()} out {path}\n".encode()
        answer = b""
        try:
            while line:  # a pipe takes what it has room for
                line = line[self.process.stdin.write(line):]
            while not answer.endswith(b"\n"):
                if not select.select([self.process.stdout], [], [], ANSWER_SECONDS_MAX)[0]:
                    self.process.kill()
                    raise Failure(f"no answer within {ANSWER_SECONDS_MAX} s")
                part = self.process.stdout.read(1 << 20)
                if not part:
                    break
                answer += part
        except BrokenPipeError:
            pass
        if not answer.endswith(b"\n"):
            if self.process.wait() == 2:
                raise NotOpened(self.last_errors())
            raise Failure(f"plan_tool ended with status {self.process.wait()}: {self.last_errors()}")
        return answer.decode().strip()

    def last_errors(self):
        self.errors.seek(0)
        return self.errors.read()[-2000:].decode(errors="replace").strip()

    def ended(self):
        return self.process.poll() is not None

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=ANSWER_SECONDS_MAX)
        self.process.stdout.close()
        self.errors.close()


class Oracle:
    def __init__(self, keep=False, out=sys.stdout):
        self.failures = []
        self.verdicts = []
        self.layouts = collections.Counter()
        self.keep = keep
        self.out = out
        self.started = time.monotonic()

    def run(self, first_seed, requests, per_repository):
        seed = first_seed
        while len(self.verdicts) + len(self.failures) < requests and len(self.failures) < FAILURES_MAX:
            left = requests - len(self.verdicts) - len(self.failures)
            self.run_repository(seed, range(min(per_repository, left)))
            seed += 1

    def run_repository(self, seed, numbers):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-oracle-", dir=os.environ.get("TMPDIR")))
        tool = None
        try:
            made = make(seed, folder)
            self.layouts[made.layout] += 1
            subject = Subject(made, folder)
            judge, requests = Judge(subject), RequestMaker(seed, subject)
            if seed % DAMAGED_EVERY == 0:
                damage(made, seed)
            if made.features & {"damaged", *FOR_GIT}:
                numbers = numbers[:DULL_REQUESTS]
            path = folder / "answer.pack"
            for k in numbers:
                if tool and tool.ended():
                    tool.close()
                    tool = None
                tool = tool or Tool(subject)
                request = requests.make(k)
                try:
                    path.unlink(missing_ok=True)
                    answer = tool.ask(request, path)
                    verdict = judge.judge(request, answer, path, thorough=k % THOROUGH_EVERY == 0)
                    verdict.name = f"--seed {seed} --request {k}"
                    self.verdicts.append(verdict)
                except NotOpened:
                    if "damaged" not in made.features:
                        raise
                    self.verdicts.append(Verdict("not opened"))
                except Failure as failure:
                    line = request.line()
                    self.failures.append(
                        f"--seed {seed} --request {k}: {failure}\n    {made.describe()}\n    "
                        f"{line if len(line) < 2000 else line[:1000] + ' ... ' + line[-500:]}")
                    print("FAILED", self.failures[-1], file=self.out, flush=True)
        except Exception:
            print(f"at --seed {seed}", file=self.out, flush=True)
            raise
        finally:
            if tool:
                tool.close()
            if self.keep:
                print("kept", folder, file=self.out)
            else:
                shutil.rmtree(folder)

    def report(self):
        count = collections.Counter(" ".join((v.status, v.reason)).strip() for v in self.verdicts)
        planned = [v for v in self.verdicts if v.status == "planned"]
        lines = [f"{len(self.verdicts)} answers were right, {len(self.failures)} wrong, in {sum(self.layouts.values())} "
                 f"repositories; {len(self.verdicts) / (time.monotonic() - self.started):.0f} a second",
                 ", ".join(f"{what} {number}" for what, number in count.most_common())]
        if planned:
            cpu = sorted(v.cpu_us for v in planned)
            sent, surplus = sum(v.pack_bytes for v in planned), sum(v.surplus_blobs for v in planned)
            lines.append(f"planned: {sum(v.objects for v in planned)} objects, {surplus} blobs more than were asked for in "
                         f"{sum(v.surplus_blobs > 0 for v in planned)} answers; CPU median {cpu[len(cpu) // 2]} us, "
                         f"longest {cpu[-1]} us; {sent} bytes")
            again = [v.sent_again for v in planned if v.sent_again]
            lines.append(f"trees, commits and tags that the client has and git does not send: {sum(again)} in {len(again)} "
                         "answers")
            for kind in ("clone", "fetch", "shallow", "filter"):
                compared = [v for v in planned if v.git_bytes and v.kind == kind]
                if compared:
                    share = sorted(v.pack_bytes / v.git_bytes for v in compared)
                    worst = max(compared, key=lambda v: v.pack_bytes - v.git_bytes)
                    whole = sum(v.pack_bytes for v in compared) / sum(v.git_bytes for v in compared)
                    lines.append(f"{kind}: {whole:.2f} of git's bytes over {len(compared)} answers, median "
                                 f"{share[len(share) // 2]:.2f}; furthest off {worst.name}: {worst.pack_bytes} to "
                                 f"{worst.git_bytes} bytes")
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--per-repository", type=int, default=60)
    parser.add_argument("--request", type=int)
    parser.add_argument("--through", type=int)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    oracle = Oracle(options.keep)
    if options.request is not None:
        oracle.run_repository(options.seed, [options.request])
    elif options.through is not None:
        oracle.run_repository(options.seed, range(options.through + 1))
    else:
        oracle.run(options.seed, options.requests, options.per_repository)
    print(oracle.report())
    return 1 if oracle.failures else 0


if __name__ == "__main__":
    sys.exit(main())
