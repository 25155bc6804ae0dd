"""A small history made by a seed: each object as bytes, in the order in which it could have been pushed.

Knows nothing of how a repository stores it: that is repository_maker.py.
"""
import hashlib
import random
import struct
import zlib

STEMS = ("pack", "tree", "ref", "blob", "loop", "walk", "thin", "base")
WORDS = [stem + end for stem in STEMS for end in ("s", "er", "ing", "")]
BIG_BLOB_BYTES = 3 << 20
START_S = 1_600_000_000
PACK_TYPES = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}


class History:
    """objects: id -> (type, bytes, path name); commits in order, each with the ids that came with it."""

    def __init__(self, seed, object_format, commits, shape):
        self.random = random.Random(f"history {seed}")
        self.object_format = object_format
        self.shape = shape
        self.objects = {}
        self.commits = []     # ids, parents before children
        self.batches = []     # for each commit: ids that are new with it
        self.files = {}       # commit -> {path: (mode, id)}
        self.big_left = 1 if self.random.random() < 0.15 else 0
        self.skewed = self.random.random() < 0.2
        self.fresh, self.settled = [], 0
        for _ in range(commits):
            self.grow()

    def add(self, kind, content, name=""):
        raw = f"{kind} {len(content)}".encode() + b"\0" + content
        name_of = hashlib.new(self.object_format, raw).hexdigest()
        if name_of not in self.objects:
            self.objects[name_of] = (kind, content, name)
            self.fresh.append(name_of)
        return name_of

    # Contents.

    def text(self, lines):
        words = self.random.choices(WORDS, k=lines * 4)
        return "".join(f"{i} {' '.join(words[4 * i:4 * i + 4])} {self.random.randrange(10**6)}\n"
                       for i in range(lines)).encode()

    def new_content(self):
        chance = self.random.random()
        if chance < 0.06:
            return b""
        if chance < 0.15:
            return self.random.randbytes(self.random.choice([1, 15, 16, 127, 128, 4000, 70_000]))
        if chance < 0.18 and self.big_left:
            self.big_left -= 1
            size = self.random.randrange(1 << 20, BIG_BLOB_BYTES)
            return self.random.choice([self.random.randbytes(size), self.text(20) * (size // 800), b"\0" * size])
        return self.text(self.random.choice([1, 3, 10, 40, 200]))

    def changed_content(self, content):
        if not content or (self.shape != "deep" and self.random.random() < 0.05):
            return self.new_content()
        at = self.random.randrange(len(content) + 1)
        kind = 2 if self.shape == "deep" else self.random.randrange(4)
        piece = self.text(self.random.choice([1, 2, 8]))
        if kind == 0:
            return content[:at] + piece + content[at:]
        if kind == 1:
            return content[:at] + content[at + self.random.randrange(200):]
        if kind == 2:
            return content + piece
        return content[:at] + piece + content[at + len(piece):]

    # Trees: {path: (mode, id)} <-> objects.

    def tree(self, files):
        entries, folders = {}, {}
        for path, value in files.items():
            first, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(first, {})[rest] = value
            else:
                entries[first] = value
        for name, below in folders.items():
            entries[name] = ("40000", self.tree(below))
        ordered = sorted(entries.items(), key=lambda e: (e[0] + "/" if e[1][0] == "40000" else e[0]).encode())
        return self.add("tree", b"".join(mode.encode() + b" " + name.encode() + b"\0" + bytes.fromhex(name_of)
                                         for name, (mode, name_of) in ordered))

    def new_path(self):
        depth = self.random.choice([0, 0, 1, 1, 2, 3])
        return "".join(f"d{self.random.randrange(3)}/" for _ in range(depth)) + f"f{self.random.randrange(10**4)}"

    def change(self, files):
        paths = sorted(files)
        kind = self.random.random()
        if not paths or kind < 0.2:
            files[self.new_path()] = ("100644", self.add("blob", self.new_content()))
            return
        path = self.random.choice(paths)
        if self.shape == "deep" and self.random.random() < 0.9:
            path, kind = "a", 0.5  # one long line of versions
            files.setdefault(path, ("100644", self.add("blob", self.text(40))))
        mode, name_of = files[path]
        if kind < 0.72 and mode not in ("160000", "40000"):
            content = self.changed_content(self.objects[name_of][1])
            files[path] = (mode, self.add("blob", content, path))
        elif kind < 0.77:
            del files[path]
        elif kind < 0.83:
            files[self.new_path()] = files.pop(path)  # a rename
        elif kind < 0.86:
            files[self.new_path()] = (mode, name_of)
        elif kind < 0.89 and mode == "100644":
            files[path] = ("100755", name_of)
        elif kind < 0.93:
            files[self.new_path()] = ("120000", self.add("blob", path.encode()))
        elif kind < 0.97:
            files[self.new_path()] = ("160000", hashlib.new(self.object_format, self.random.randbytes(8)).hexdigest())
        elif kind < 0.98:
            files.clear()  # an empty tree
        else:
            folder = f"e{self.random.randrange(100)}"
            files[f"{folder}"] = ("40000", self.add("tree", b""))  # a folder with nothing in it

    # Commits.

    def commit(self, tree, parents, message):
        date = START_S + 60 * len(self.commits)
        if self.skewed and self.random.random() < 0.3:
            date += self.random.randrange(-10**5, 10**5)
        who = f"A U Thor <author@example.com> {date} +0000"
        text = f"tree {tree}\n" + "".join(f"parent {parent}\n" for parent in parents)
        name_of = self.add("commit", f"{text}author {who}\ncommitter {who}\n\n{message}\n".encode())
        reached = self.closure([tree])
        for unused in [n for n in self.fresh[self.settled:] if self.objects[n][0] in ("tree", "blob") and n not in reached]:
            del self.objects[unused]  # was overwritten before it was committed
            self.fresh.remove(unused)
        self.settled = len(self.fresh)
        return name_of

    def parents(self):
        count = len(self.commits)
        if not count or (self.shape != "deep" and self.random.random() < 0.03):
            return []
        chance = self.random.random()
        if self.shape == "deep" or chance < 0.55:
            return [self.commits[-1]]
        recent = self.commits[-12:]
        if chance < 0.7:
            return [self.random.choice(recent)]
        if chance < 0.95:  # also criss-cross: two merges of the same two
            last = self.files and self.commits[-1]
            pair = self.random.sample(recent, min(2, len(recent)))
            return pair if self.random.random() < 0.6 else [last, *[p for p in pair if p != last]][:2]
        return self.random.sample(recent, min(self.random.randrange(2, 9), len(recent)))

    def grow(self):
        parents = self.parents()
        files = {}
        for parent in reversed(parents):
            files.update(self.files[parent])
        for _ in range(1 if self.shape == "deep" else self.random.choice([0, 1, 1, 2, 4]) + 3 * (not parents)):
            self.change(files)
        if len(files) > 60:
            for path in self.random.sample(sorted(files), 30):
                del files[path]
        name_of = self.commit(self.tree(files), parents, f"commit {len(self.commits)}")
        if name_of in self.files:
            return
        self.files[name_of] = files
        self.commits.append(name_of)
        self.batches.append(self.take_fresh())

    def take_fresh(self):
        fresh, self.fresh, self.settled = self.fresh, [], 0
        return fresh

    def tag(self, target, name):
        kind = self.objects[target][0]
        who = f"C O Mitter <committer@example.com> {START_S} +0000"
        return self.add("tag", f"object {target}\ntype {kind}\ntag {name}\ntagger {who}\n\nabout {name}\n".encode())

    def ids(self, kind):
        return [name_of for name_of, (of, _, _) in self.objects.items() if of == kind]

    def closure(self, tips):
        """What the commits reach, for choosing what to store where; the judge reads it from git."""
        seen, stack = set(), list(tips)
        while stack:
            name_of = stack.pop()
            if name_of in seen or name_of not in self.objects:
                continue
            seen.add(name_of)
            stack += links(*self.objects[name_of][:2], self.object_format)
        return seen


def links(kind, content, object_format):
    """The ids that an object names, without submodules."""
    size = 20 if object_format == "sha1" else 32
    if kind == "tree":
        at, found = 0, []
        while at < len(content):
            end = content.index(b"\0", at)
            if not content.startswith(b"160000 ", at):
                found.append(content[end + 1:end + 1 + size].hex())
            at = end + 1 + size
        return found
    if kind == "commit":
        head = content.split(b"\n\n")[0].decode().split("\n")
        return [line.split(" ")[1] for line in head if line.startswith(("tree ", "parent "))]
    if kind == "tag":
        return [content[7:7 + 2 * size].decode()]
    return []


def raw_pack(objects, ids, object_format):
    """A pack of whole objects, for git to make better ones from."""
    out = [struct.pack(">4sII", b"PACK", 2, len(ids))]
    for name_of in ids:
        kind, content, _ = objects[name_of]
        size, head = len(content) >> 4, [PACK_TYPES[kind] << 4 | (len(content) & 15)]
        while size:
            head[-1] |= 128
            head.append(size & 127)
            size >>= 7
        out += [bytes(head), zlib.compress(content, 1)]
    pack = b"".join(out)
    return pack + hashlib.new(object_format, pack).digest()
