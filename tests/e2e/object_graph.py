"""The objects of a repository and what they name, read from git once; closures are then sets in memory."""
import hashlib
import subprocess

from made_history import links
from repository_maker import ENVIRONMENT


class ObjectGraph:
    """kinds, sizes: id -> type, bytes; links: id -> ids it names. Everything that is stored, borrowed or not reached."""

    def __init__(self, git_dir, object_format):
        self.kinds, self.sizes, self.links, self.parents, self.dates = {}, {}, {}, {}, {}
        listed = self.git(git_dir, "--batch-check=%(objectname) %(objecttype) %(objectsize)", "--batch-all-objects")
        for line in listed.decode().splitlines():
            name_of, kind, size = line.split(" ")
            self.kinds[name_of], self.sizes[name_of] = kind, int(size)
        empty_tree = hashlib.new(object_format, b"tree 0\0").hexdigest()
        self.kinds.setdefault(empty_tree, "tree")  # git knows it without having it
        self.sizes.setdefault(empty_tree, 0)
        named = [name_of for name_of, kind in self.kinds.items() if kind != "blob"]
        answer, at = self.git(git_dir, "--batch", "--buffer", input="\n".join(named).encode()), 0
        for name_of in named:
            at = answer.index(b"\n", at) + 1
            content = answer[at:at + self.sizes[name_of]]
            at += len(content) + 1
            self.links[name_of] = links(self.kinds[name_of], content, object_format)
            if self.kinds[name_of] == "commit":
                self.parents[name_of] = self.links[name_of][1:]
                self.dates[name_of] = int(content.split(b"\ncommitter ")[1].split(b"> ")[1].split(b" ")[0])

    @staticmethod
    def git(git_dir, *arguments, input=b""):
        return subprocess.run(["git", f"--git-dir={git_dir}", "cat-file", *arguments], input=input, check=True,
                              capture_output=True, env=ENVIRONMENT | {"GIT_NO_REPLACE_OBJECTS": "1"}).stdout

    def closure(self, tips, cut=frozenset(), without=frozenset()):
        """What `tips` reach; the parents of commits in `cut` do not count; nothing of `without` is entered."""
        seen, stack = set(), [name_of for name_of in tips if name_of in self.kinds]
        while stack:
            name_of = stack.pop()
            if name_of in seen or name_of in without:
                continue
            seen.add(name_of)
            if name_of in cut:
                stack.append(self.links[name_of][0])
            else:
                stack += self.links.get(name_of, ())
        return seen

    def peeled(self, name_of):
        while self.kinds[name_of] == "tag":
            name_of = self.links[name_of][0]
        return name_of

    def commits_within(self, wants, depth):
        """The commits less than `depth` deep, by breadth from the wanted ones, and those at the edge, roots too, as
        get_shallow_commits() of git finds them."""
        best, level = {}, [self.peeled(name_of) for name_of in wants]
        level = [name_of for name_of in level if self.kinds[name_of] == "commit"]
        for distance in range(1, min(depth, len(self.parents) + 1) + 1):
            after = []
            for name_of in level:
                if name_of not in best:
                    best[name_of] = distance
                    after += self.parents[name_of]
            level = after
        edge = {name_of for name_of, distance in best.items() if distance == depth}
        return set(best) - edge, edge
