"""The pushes of the power-cut test: served repositories, what is pushed to them and what that changes."""
import random

from weir_server import commit, git, make_work_tree


class Push:
    """updates: {ref: new id, or None for a deletion}; told: the place in the record of its report."""

    def __init__(self, arguments, updates, accepted=True):
        self.arguments, self.updates, self.accepted = arguments, updates, accepted
        self.told = None


class Scenario:
    """`pushes(work)` commits in the client's work tree and yields a Push each time."""

    def __init__(self, name, pushes, config=(), packed=False, hook=None):
        self.name, self.make_pushes, self.config, self.packed, self.hook = name, pushes, config, packed, hook
        self.pushes = []

    def prepare(self, weir, folder):
        self.served = weir.make_repository(f"acme/{self.name}.git", "--template=")
        self.work = make_work_tree(folder / self.name)
        big = b"".join(random.Random(1).randbytes(30) + b"\n" for _ in range(2000))
        commit(self.work, "big", big)
        git("push", "-q", self.served, "main", "side", "main:old/a", "main:old/b", "--tags", cwd=self.work)
        git("repack", "-adq", cwd=self.served)  # few files: a state is made quickly
        for key, value in self.config:
            git("config", key, value, cwd=self.served)
        if self.packed:
            git("pack-refs", "--all", cwd=self.served)
        if self.hook:
            (self.served / "hooks").mkdir()
            (self.served / "hooks" / self.hook).write_text("#!/bin/sh\nexit 1\n")
            (self.served / "hooks" / self.hook).chmod(0o755)
        self.first_refs = dict(reversed(line.split()) for line in
                               git("for-each-ref", "--format=%(objectname) %(refname)",
                                   cwd=self.served).out.splitlines())

    def run(self, weir, url, http):
        for push in self.make_pushes(self.work):
            done = weir.git("push", "-q", *push.arguments[:-1], url, *push.arguments[-1], cwd=self.work,
                            http=http, check=False)
            assert (done.returncode == 0) == push.accepted, done.err
            self.pushes.append(push)

    def refs_at(self, cut):
        """What was acknowledged by then, and the updates of the push after that."""
        refs, after = dict(self.first_refs), {}
        for push in self.pushes:
            if push.told > cut:
                after = push.updates
                break
            refs.update(push.updates)
        return {ref: value for ref, value in refs.items() if value}, after


def small(work):
    tip = commit(work, "dir0/file0.txt", "changed\n")
    yield Push([["main"]], {"refs/heads/main": tip})
    tip = commit(work, "new/deep/file", "new\n")
    yield Push([["HEAD:refs/heads/topic/deep/new"]], {"refs/heads/topic/deep/new": tip})


def large(work):
    for number in range(120):
        (work / f"many{number}").write_bytes(random.Random(number).randbytes(700))
    tip = commit(work, "dir1/more", "more\n")
    yield Push([["main"]], {"refs/heads/main": tip})


def thin(work):
    """A delta against what the server has: git appends its base to the pack."""
    tip = commit(work, "big", (work / "big").read_bytes() + b"one more line\n")
    yield Push([["main"]], {"refs/heads/main": tip})


def several(work, *options):
    tip = commit(work, "dir0/file0.txt", "for several\n")
    yield Push([*options, ["main", "HEAD:refs/heads/made/one", "HEAD:refs/tags/made", ":refs/heads/old/a"]],
               {"refs/heads/main": tip, "refs/heads/made/one": tip, "refs/tags/made": tip,
                "refs/heads/old/a": None})


def atomic(work):
    yield from several(work, "--atomic")


def delete(_):
    yield Push([[":refs/heads/old/a"]], {"refs/heads/old/a": None})
    yield Push([[":refs/heads/old/b"]], {"refs/heads/old/b": None})


def delete_packed(work):
    yield Push([[":refs/heads/old/a"]], {"refs/heads/old/a": None})
    tip = commit(work, "dir0/file0.txt", "over the packed one\n")
    yield Push([["HEAD:refs/heads/old/b"]], {"refs/heads/old/b": tip})
    yield Push([[":refs/heads/old/b"]], {"refs/heads/old/b": None})


def refused_by_hook(work):
    commit(work, "dir0/file0.txt", "not wanted\n")
    yield Push([["main"]], {}, accepted=False)


def refused_atomic(work):
    """The first is locked when git finds that the second cannot be: its name would be a folder and a file."""
    commit(work, "dir0/file0.txt", "half wanted\n")
    yield Push(["--atomic", ["HEAD:refs/heads/made", "HEAD:refs/heads/old/a/below"]], {}, accepted=False)


def scenarios():
    as_pack = [("receive.unpackLimit", "1")]
    return [Scenario("small", small), Scenario("large", large), Scenario("thin", thin, as_pack),
            Scenario("several", several), Scenario("atomic", atomic, as_pack), Scenario("delete", delete),
            Scenario("delete-packed", delete_packed, packed=True),
            Scenario("refused-hook", refused_by_hook, hook="pre-receive"),
            Scenario("refused-atomic", refused_atomic)]
