"""Small repositories of every shape that Git gives them, each made by a seed in well under a second.

`make(seed, folder)` returns a MadeRepository. What is in it comes from made_history.py; here is how it is stored: loose,
in packs of all kinds, with indexes, bitmaps and commit-graphs of all ages, borrowed from others, and which refs there are.
LAYOUTS[seed % len(LAYOUTS)] is the layout, so that a run of consecutive seeds sees them all.
"""
import dataclasses
import hashlib
import pathlib
import random
import shutil
import subprocess
import zlib

from made_history import History, raw_pack
from weir_server import GIT_ENVIRONMENT

CONFIG = {"core.fsync": "none", "pack.threads": "1", "gc.auto": "0", "index.threads": "1"}
ENVIRONMENT = GIT_ENVIRONMENT | {"GIT_COMMITTER_DATE": "1600000000 +0000", "GIT_CONFIG_COUNT": str(len(CONFIG))} | {
    f"GIT_CONFIG_{part}_{i}": item for i, pair in enumerate(CONFIG.items()) for part, item in zip(("KEY", "VALUE"), pair)}


@dataclasses.dataclass
class MadeRepository:
    path: pathlib.Path
    object_format: str
    layout: str
    features: set = dataclasses.field(default_factory=set)

    def git(self, *arguments, input=b"", environment=None):
        return run_git(self.path, *arguments, input=input, environment=environment)

    def describe(self):
        return f"{self.layout}, {self.object_format}{''.join(', ' + f for f in sorted(self.features))}"


def run_git(git_dir, *arguments, input=b"", environment=None):
    if isinstance(input, str):
        input = input.encode()
    done = subprocess.run(["git", f"--git-dir={git_dir}", *arguments], input=input, capture_output=True,
                          env=ENVIRONMENT | (environment or {}), timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
    return done.stdout


class Maker:
    def __init__(self, seed, folder):
        self.random = random.Random(f"repository {seed}")
        self.folder = pathlib.Path(folder)
        self.layout = LAYOUTS[seed % len(LAYOUTS)]
        self.object_format = "sha256" if self.chance(0.15) else "sha1"
        self.features = set()
        shape, commits = self.random.choice([("tiny", 4), ("mixed", 25), ("mixed", 60), ("mixed", 130)])
        if self.layout == "deep":
            shape, commits = "deep", 270
        self.history = History(seed, self.object_format, commits, shape)
        self.path = self.new_repository("served.git")
        self.source = self.new_repository("source.git")  # holds all objects; nothing of it is served
        self.refs = {}
        self.objects_done = set()
        self.make_refs()
        if self.chance(0.3) and self.layout not in ("midx_bitmap", "midx_of_some", "geometric"):
            self.forget_empty_tree()  # git's bitmaps of several packs need it
        self.fill_source()

    def chance(self, probability):
        return self.random.random() < probability

    def new_repository(self, name):
        """As `git init --bare` makes it, which would take longer than all else."""
        path = self.folder / name
        for below in ("objects/info", "objects/pack", "refs/heads", "info"):
            (path / below).mkdir(parents=True)
        (path / "HEAD").write_text("ref: refs/heads/main\n")
        sha256 = self.object_format == "sha256"
        (path / "config").write_text(
            f"[core]\n\trepositoryformatversion = {int(sha256)}\n\tbare = true\n"
            f"[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n"
            + ("[extensions]\n\tobjectformat = sha256\n" if sha256 else ""))
        return path

    def git(self, *arguments, path=None, input=b"", borrow=True):
        environment = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self.source / "objects")} if borrow else None
        return run_git(path or self.path, *arguments, input=input, environment=environment)

    def config(self, section, *lines):
        with open(self.path / "config", "a") as file:
            file.write(f"[{section}]\n" + "".join(f"\t{line}\n" for line in lines))

    # Refs.

    def make_refs(self):
        history, pick = self.history, self.random
        heads = {"refs/heads/main": history.commits[-1]}
        for i in range(pick.choice([0, 1, 3, 8])):
            heads[f"refs/heads/b{i}"] = pick.choice(history.commits)
        if self.chance(0.05):
            self.features.add("many refs")
            heads |= {f"refs/heads/many/{i}": pick.choice(history.commits) for i in range(1500)}
        for i in range(pick.choice([0, 2, 6])):
            target = pick.choice(history.commits)
            heads[f"refs/tags/t{i}"] = history.tag(target, f"t{i}") if self.chance(0.6) else target
        if self.chance(0.3):
            inner = history.tag(pick.choice(history.commits), "inner")
            heads["refs/tags/nested"] = history.tag(history.tag(inner, "middle"), "nested")
        for kind in ("tree", "blob"):
            if self.chance(0.25):
                target = pick.choice(history.ids(kind))
                heads[f"refs/tags/of-{kind}"] = history.tag(target, f"of-{kind}")
            if self.chance(0.1):
                heads[f"refs/tags/light-{kind}"] = pick.choice(history.ids(kind))
        self.deleted = {}
        if self.chance(0.5):
            self.features.add("deleted")
            for i in range(pick.randrange(1, 4)):
                self.deleted[f"refs/heads/deleted{i}"] = self.lone_commit()
        if self.chance(0.4):
            self.features.add("hidden")
            for i in range(pick.randrange(1, 4)):
                heads[f"refs/hidden/h{i}"] = self.lone_commit()
            secret = self.lone_commit()
            heads["refs/tags/secret"] = history.tag(secret, "secret")
            heads["refs/tags/hidden-of-seen"] = history.tag(history.commits[0], "hidden-of-seen")
            self.config("transfer", "hideRefs = refs/hidden", "hideRefs = refs/tags/secret",
                        "hideRefs = refs/tags/hidden-of-seen", "hideRefs = !refs/hidden/h1")
        self.refs = heads
        history.batches.append(history.take_fresh())

    def lone_commit(self):
        """A commit on top of one that is visible, which no other ref reaches; with a tree and a blob of its own."""
        history = self.history
        base = self.random.choice(history.commits)
        files = dict(history.files[base])
        files[f"lone{self.random.randrange(10**6)}"] = ("100644", history.add("blob", history.text(5)))
        text = [path for path, (mode, _) in files.items() if mode == "100644"]
        changed = self.random.choice(text)  # a likely delta against what is visible, and its base
        content = history.changed_content(history.objects[files[changed][1]][1])
        files[changed] = ("100644", history.add("blob", content, changed))
        return history.commit(history.tree(files), [base], f"lone {self.random.randrange(10**6)}")

    def write_refs(self, path, refs):
        loose = dict(self.random.sample(sorted(refs.items()), min(3, len(refs))))
        lines = [f"{name_of} {ref}\n" for ref, name_of in sorted(refs.items()) if ref not in loose]
        (path / "packed-refs").write_text("# pack-refs with: sorted \n" + "".join(lines))
        for ref, name_of in loose.items():
            (path / ref).parent.mkdir(parents=True, exist_ok=True)
            (path / ref).write_text(name_of + "\n")

    def remove_refs(self, path):
        shutil.rmtree(path / "refs")
        (path / "refs/heads").mkdir(parents=True)
        (path / "packed-refs").unlink(missing_ok=True)

    # Objects.

    def forget_empty_tree(self):
        """Git knows it without having it."""
        empty = hashlib.new(self.object_format, b"tree 0\0").hexdigest()
        if self.history.objects.pop(empty, None):
            self.features.add("no empty tree")
            for batch in self.history.batches:
                batch[:] = [name_of for name_of in batch if name_of != empty]

    def fill_source(self):
        pack = raw_pack(self.history.objects, list(self.history.objects), self.object_format)
        self.git("index-pack", "--stdin", path=self.source, input=pack, borrow=False)

    def store_loose(self, ids, path=None):
        for name_of in ids:
            kind, content, _ = self.history.objects[name_of]
            file = (path or self.path) / "objects" / name_of[:2] / name_of[2:]
            file.parent.mkdir(exist_ok=True)
            level = self.random.choice([0, 1, 6])
            file.write_bytes(zlib.compress(f"{kind} {len(content)}".encode() + b"\0" + content, level))

    def store_pack(self, ids, *options, path=None):
        if not ids:
            return
        path = path or self.path
        lines = "".join(f"{name_of} {self.history.objects[name_of][2]}\n" for name_of in ids)
        options = options or (["--delta-base-offset"] if self.chance(0.8) else [])
        self.git("pack-objects", "-q", *options, str(path / "objects/pack/pack"), path=path, input=lines)

    def store_push(self, before, ids):
        """As receive-pack stores a large push: a thin pack that was completed; its bases are there twice."""
        tips = [name_of for name_of in ids if self.history.objects[name_of][0] == "commit"]
        revisions = "".join(f"{name_of}\n" for name_of in tips) + "--not\n" + "".join(
            f"{name_of}\n" for name_of in before)
        if not tips:
            self.store_loose(ids)
            return
        options = ["--delta-base-offset"] if self.chance(0.7) else []
        pack = self.git("pack-objects", "-q", "--revs", "--thin", "--stdout", *options, path=self.source, input=revisions)
        self.git("index-pack", "--stdin", "--fix-thin", input=pack, borrow=False)

    def epochs(self, count):
        """Lists of ids, cut at commits: what was there first, what came next."""
        batches = self.history.batches
        cuts = sorted(self.random.randrange(len(batches) + 1) for _ in range(count - 1))
        return [[name_of for batch in batches[a:b] for name_of in batch]
                for a, b in zip([0, *cuts], [*cuts, len(batches)])]

    def commits_of(self, epochs):
        return [name_of for epoch in epochs for name_of in epoch if self.history.objects[name_of][0] == "commit"]

    def repack(self, *options, refs=None):
        self.write_refs(self.path, self.refs | self.deleted if refs is None else refs)
        self.git("repack", "-q", *options)
        self.remove_refs(self.path)

    # Layouts: each stores at least what the refs reach.

    def loose(self):
        self.store_loose(self.history.objects)

    def one_pack(self):
        self.repack("-adf", "--no-write-bitmap-index")

    def ref_delta(self):
        self.config("repack", "useDeltaBaseOffset = false")
        self.repack("-adf", *self.perhaps_bitmap())

    def deep(self):
        """Each version of a file a delta of the one before it, as fast-import stores them; perhaps repacked since."""
        objects = self.history.objects
        versions = [name_of for name_of, (kind, _, path) in objects.items() if kind == "blob" and path == "a"]
        stream = b"".join(b"blob\ndata %d\n%b\n" % (len(objects[name_of][1]), objects[name_of][1]) for name_of in versions)
        self.git("-c", "fastimport.unpackLimit=1", "fast-import", "--quiet", "--depth=250", input=stream, borrow=False)
        self.store_pack([name_of for name_of in objects if name_of not in versions])
        if self.chance(0.5):
            self.repack("-ad", "--depth=250", "--window=1", *self.perhaps_bitmap())

    def perhaps_bitmap(self):
        return ["--write-bitmap-index" if self.chance(0.5) else "--no-write-bitmap-index"]

    def islands(self):
        self.config("repack", "useDeltaIslands = true")
        self.config("pack", "island = refs/(heads|hidden|tags)/", "islandCore = heads")
        self.repack("-adfi", *self.perhaps_bitmap())

    def bitmap_options(self):
        self.config("pack", f"writeBitmapLookupTable = {self.random.choice(['true', 'false'])}",
                    f"writeBitmapHashCache = {self.random.choice(['true', 'false'])}",
                    f"writeReverseIndex = {self.random.choice(['true', 'false'])}")

    def bitmap(self):
        self.bitmap_options()
        self.repack("-adfb")

    def bitmap_of_some(self):
        """The bitmap is of an earlier day; pushes came after it, some of them kept as loose objects."""
        self.bitmap_options()
        first, *later = self.epochs(4)
        self.repack("-adfb", refs={f"refs/heads/{name_of}": name_of for name_of in self.commits_of([first])})
        self.store_loose(name_of for name_of in first if self.history.objects[name_of][0] == "tag")
        done = [first]
        for epoch in later:
            if epoch and self.chance(0.6):
                self.store_push(self.commits_of(done), epoch)
                self.store_loose(name_of for name_of in epoch if self.history.objects[name_of][0] == "tag")
            else:
                self.store_loose(epoch)
            done.append(epoch)

    def packs(self):
        for epoch in self.epochs(5):
            self.store_pack(epoch)

    def packs_twice(self):
        """Objects in several packs at once, and loose besides."""
        done = []
        for epoch in self.epochs(4):
            again = self.random.sample(done, len(done) // 3)
            self.store_pack(epoch + again)
            done += epoch
        self.store_loose(self.random.sample(done, len(done) // 10))

    def pack_and_loose(self):
        first, second = self.epochs(2)
        self.store_pack(first)
        self.store_loose(second)

    def multi_pack_index(self, bitmap):
        self.bitmap_options()
        self.packs_twice() if self.chance(0.5) else self.packs()
        if bitmap:
            self.write_refs(self.path, self.refs | self.deleted)
            self.store_pack([name_of for name_of in self.history.objects][-40:])
        self.git("multi-pack-index", "write", *(["--bitmap"] if bitmap else []), borrow=False)
        if bitmap:
            self.remove_refs(self.path)

    def midx(self):
        self.multi_pack_index(bitmap=False)

    def midx_bitmap(self):
        self.multi_pack_index(bitmap=True)

    def midx_of_some(self):
        """A multi-pack-index with bitmap of an earlier day; its packs, and others that came after it."""
        self.bitmap_options()
        first, *later = self.epochs(4)
        self.store_pack(first)
        self.store_pack(later[0])
        commits = self.commits_of([first, later[0]])
        self.write_refs(self.path, {f"refs/heads/{name_of}": name_of for name_of in commits})
        if commits:
            self.git("multi-pack-index", "write", "--bitmap", borrow=False)
        self.remove_refs(self.path)
        self.store_pack(later[1])
        self.store_loose(later[2])

    def geometric(self):
        self.bitmap_options()
        self.write_refs(self.path, self.refs | self.deleted)
        *packs, last = self.epochs(5)
        for epoch in packs:
            self.store_pack(epoch)
        self.store_loose(last)
        self.git("repack", "-q", "-d", "--geometric=2", "--write-midx", "--write-bitmap-index", borrow=False)
        self.remove_refs(self.path)

    def cruft(self):
        self.store_pack(list(self.history.objects))
        self.write_refs(self.path, self.refs)
        self.git("repack", "-q", "--cruft", "-d", *(["-b"] if self.chance(0.5) else []), borrow=False)
        self.remove_refs(self.path)

    def kept(self):
        """A pack that a .keep file keeps out of repacks, and one made beside it."""
        first, second = self.epochs(2)
        self.store_pack(first)
        for pack in (self.path / "objects/pack").glob("*.pack"):
            pack.with_suffix(".keep").touch()
        self.store_loose(second)
        self.write_refs(self.path, self.refs | self.deleted)
        self.git("repack", "-q", "-ad", borrow=False)
        self.remove_refs(self.path)

    def index_version_1(self):
        self.store_pack(list(self.history.objects), "--index-version=1")

    def fork(self, pool_bitmap=False, chain=False):
        """Borrows what came first from a pool, where there are also objects that are none of this repository's business."""
        pool = self.new_repository("pool.git")
        first, second, third = self.epochs(3)
        private = [self.lone_commit() for _ in range(2)]
        secrets = self.history.take_fresh()
        self.git("index-pack", "--stdin", path=self.source, borrow=False,
                 input=raw_pack(self.history.objects, secrets, self.object_format))
        refs = {f"refs/heads/{name_of}": name_of for name_of in self.commits_of([first]) + private}
        self.write_refs(pool, refs)
        if pool_bitmap:
            self.git("repack", "-adfbq", path=pool)
        else:
            self.store_pack(first + secrets, path=pool)
        tags = [name_of for name_of in first if self.history.objects[name_of][0] == "tag"]
        self.store_loose(tags, path=pool)
        if self.chance(0.5):
            self.git("commit-graph", "write", "--reachable", path=pool)
        where = pool
        if chain:
            where = self.new_repository("middle.git")
            (where / "objects/info/alternates").write_text("../../pool.git/objects\n")
            self.store_pack(second, path=where)
        else:
            self.store_loose(second)
        self.store_pack(third + self.random.sample(first, len(first) // 8))
        (self.path / "objects/info/alternates").write_text(
            f"{where}/objects\n" if self.chance(0.5) else f"../../{where.name}/objects\n")
        self.features.add("private objects beside")

    def fork_of_bitmap(self):
        self.fork(pool_bitmap=True)

    def fork_of_fork(self):
        self.fork(chain=True)

    # What else there may be.

    def commit_graph(self):
        kind = self.random.choice(["none", "single", "split", "old", "first version"])
        if kind == "none":
            return
        self.features.add(f"commit-graph {kind}")
        options = ["--changed-paths"] if self.chance(0.3) else []
        commits = self.commits_of(self.history.batches)
        if kind == "split":
            for part in (commits[:len(commits) // 3], commits[:len(commits) // 2], commits):
                self.git("commit-graph", "write", "--stdin-commits", "--split=no-merge", *options, borrow=False,
                         input="".join(f"{name_of}\n" for name_of in part if self.stored(name_of)))
            return
        if kind == "old":
            commits = commits[:len(commits) * 2 // 3]
        version = ["-c", "commitGraph.generationVersion=1"] if kind == "first version" else []
        self.git(*version, "commit-graph", "write", "--stdin-commits", *options, borrow=False,
                 input="".join(f"{name_of}\n" for name_of in commits if self.stored(name_of)))

    def stored(self, name_of):
        if not self.objects_done:
            listed = self.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)", borrow=False)
            self.objects_done = set(listed.decode().split())
        return name_of in self.objects_done

    def odd_features(self):
        history, pick = self.history, self.random
        if self.chance(0.08):
            self.features.add("replace refs")
            one, other = pick.choice(history.commits), pick.choice(history.commits)
            if one != other:
                self.refs[f"refs/replace/{one}"] = other
        if self.chance(0.03):
            self.features.add("grafts")
            (self.path / "info/grafts").write_text(f"{pick.choice(history.commits)}\n")
        packs = sorted((self.path / "objects/pack").glob("*.pack"))
        if packs and self.chance(0.02):
            self.features.add("promisor")
            packs[0].with_suffix(".promisor").touch()
            self.config("remote \"origin\"", "promisor = true", "url = /nonexistent")
        if self.chance(0.03):
            self.features.add("shallow")
            (self.path / "shallow").write_text(f"{pick.choice(history.commits)}\n")

    def made(self):
        getattr(self, self.layout)()
        self.odd_features()
        if not self.features & {"grafts", "shallow", "replace refs"}:
            self.commit_graph()
        self.write_refs(self.path, self.refs)
        shutil.rmtree(self.source)
        return MadeRepository(self.path, self.object_format, self.layout, self.features)


LAYOUTS = ["loose", "one_pack", "bitmap", "packs", "midx_bitmap", "fork", "bitmap_of_some", "ref_delta", "geometric",
           "packs_twice", "deep", "midx", "fork_of_bitmap", "islands", "pack_and_loose", "midx_of_some", "cruft",
           "fork_of_fork", "kept", "index_version_1"]


def make(seed, folder):
    return Maker(seed, folder).made()


def damage(made, seed):
    """Breaks some files of its objects, as disks do: what is planned then is of no use, but planning must survive it."""
    pick = random.Random(f"damage {seed}")
    files = sorted(path for path in (made.path / "objects").rglob("*") if path.is_file())
    notable = [path for path in files if path.parent.name in ("pack", "info", "commit-graphs")]
    for path in pick.sample(pick.choice([files, notable or files]), 1):
        content = bytearray(path.read_bytes())
        kind = pick.randrange(5)
        path.unlink()
        if kind == 0:
            continue
        for _ in range(pick.choice([1, 3, 30]) if content else 0):
            at = pick.randrange(len(content))
            if kind == 1:
                content[at] ^= 1 << pick.randrange(8)
            elif kind == 2:
                content[at:at + 4] = pick.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
        path.write_bytes(content[:pick.randrange(len(content) + 1)] if kind == 3 else content)
    made.features.add("damaged")
