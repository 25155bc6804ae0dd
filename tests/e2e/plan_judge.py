"""Judges plans by what real git says of them: is it a good pack, does it hold what was asked, and nothing more."""
import dataclasses
import pathlib
import shutil
import struct
import subprocess

from object_graph import ObjectGraph
from plan_request import INFINITE_DEPTH
from repository_maker import ENVIRONMENT, run_git

OFS_DELTA, REF_DELTA = 6, 7
FOR_GIT = {"grafts", "shallow", "promisor"}  # features of repositories that are not planned


class Failure(Exception):
    """The answer is wrong; or, where it says so, the oracle."""


@dataclasses.dataclass
class Verdict:
    status: str
    reason: str = ""
    kind: str = ""
    name: str = ""  # says how to ask it again
    objects: int = 0
    pack_bytes: int = 0
    surplus_blobs: int = 0
    surplus_bytes: int = 0
    sent_again: int = 0
    cpu_us: int = 0
    git_bytes: int = 0


def expect(condition, problem):
    if not condition:
        raise Failure(problem)


def names(ids, graph=None):
    shown = [f"{name_of[:12]} ({graph.kinds.get(name_of, 'unknown')})" if graph else name_of[:12] for name_of in sorted(ids)]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


class Subject:
    """A repository under judgement: its graph, what upload-pack lets see of it, and clients to try packs in."""

    def __init__(self, made, folder):
        self.made = made
        self.folder = pathlib.Path(folder)
        self.hash_bytes = 20 if made.object_format == "sha1" else 32
        self.hex_digits = 2 * self.hash_bytes
        self.graph = ObjectGraph(made.path, made.object_format)
        self.tips, self.tags = set(), {}
        advertised = run_git(made.path, "upload-pack", "--advertise-refs", str(made.path),
                             environment={"GIT_NO_REPLACE_OBJECTS": "1"})
        for line in packets(advertised):
            name_of, _, ref = line.split(b"\0")[0].strip().decode().partition(" ")
            if ref.endswith("^{}"):
                if ref.startswith("refs/tags/"):
                    self.tags[last] = name_of
            elif set(name_of) != {"0"} and ref != "capabilities^{}" and name_of in self.graph.kinds:
                self.tips.add(name_of)
            last = name_of
        self.visible = self.graph.closure(self.tips)
        # Dates out of order: what is older than a have may then hide that it is to be seen.
        dates = self.graph.dates
        self.skewed = any(dates[parent] > dates[name_of] for name_of, parents in self.graph.parents.items()
                          for parent in parents if parent in dates)
        self.empty = self.new_client("empty.git")
        self.knowing = self.new_client("knowing.git")
        (self.knowing / "objects/info").mkdir(exist_ok=True)
        (self.knowing / "objects/info/alternates").write_text(f"{made.path}/objects\n")
        self.tips_file = self.folder / "tips"
        self.tips_file.write_text("".join(f"{name_of}\n" for name_of in sorted(self.tips)) + "".join(
            f"tag {name_of} {peeled}\n" for name_of, peeled in sorted(self.tags.items())))

    def new_client(self, name):
        path = self.folder / name
        for below in ("objects/pack", "refs"):
            (path / below).mkdir(parents=True)
        (path / "HEAD").write_text("ref: refs/heads/main\n")
        (path / "config").write_text((self.made.path / "config").read_text().split("[uploadpack]")[0] + (
            "[extensions]\n\tobjectformat = sha256\n" if self.hash_bytes == 32 else ""))
        return path

    # Packs.

    def index(self, client, pack, fix_thin=False, strict=False, shallow=()):
        """Has git read a pack; returns [(offset, id)] without the bases that git added to a thin one."""
        options = ["--strict" if strict else "--fsck-objects"]
        arguments = []
        if shallow:
            file = self.folder / "shallow-list"
            file.write_text("".join(f"{name_of}\n" for name_of in sorted(shallow)))
            arguments = ["--shallow-file", str(file)]
        done = subprocess.run(
            ["git", *arguments, f"--git-dir={client}", "index-pack", *options, *(["--fix-thin"] if fix_thin else []),
             "--stdin"], input=pack, capture_output=True, env=ENVIRONMENT, timeout=60)
        expect(done.returncode == 0, f"index-pack {options[0]}: {done.stderr.decode(errors='replace').strip()}")
        try:
            stored = next((client / "objects/pack").glob("pack-*.idx"))
            entries = self.read_index(stored.read_bytes())
        finally:
            for file in (client / "objects/pack").iterdir():
                file.unlink()
        return sorted(entry for entry in entries if entry[0] < len(pack) - self.hash_bytes)

    def read_index(self, data):
        count = struct.unpack_from(">I", data, 8 + 255 * 4)[0]
        at = 8 + 1024
        ids = [data[at + i * self.hash_bytes:at + (i + 1) * self.hash_bytes].hex() for i in range(count)]
        offsets = struct.unpack_from(f">{count}I", data, at + count * (self.hash_bytes + 4))
        return list(zip(offsets, ids))

    def check_bases(self, pack, entries, request, held):
        """Each delta's base is in the pack or one that the client is known to hold. By distance it is an entry before;
        by name it may come later, as in packs that were pushed thin (git would have found a circle)."""
        offsets, sent = {}, {name_of for _, name_of in entries}
        for offset, name_of in entries:
            at, byte = offset + 1, pack[offset]
            kind = byte >> 4 & 7
            while byte & 128:
                byte, at = pack[at], at + 1
            if kind == OFS_DELTA:
                expect(request.ofs, f"{name_of} is an offset delta, which was not asked for")
                byte, at = pack[at], at + 1
                distance = byte & 127
                while byte & 128:
                    byte, at = pack[at], at + 1
                    distance = (distance + 1 << 7) | (byte & 127)
                expect(offset - distance in offsets, f"the base of {name_of} is no entry before it")
            elif kind == REF_DELTA:
                base = pack[at:at + self.hash_bytes].hex()
                if base not in sent:
                    expect(request.thin, f"the base of {name_of} is not in the pack, which is not thin")
                    expect(base in held, f"the base of {name_of}, {base}, is not known to be at the client")
            offsets[offset] = name_of

    # What git answers to the same request.

    def git_answer(self, request):
        """The pack of real git, what becomes shallow, and what does not stay so."""
        body = b"".join(pkt(line + "\n") for line in (
            "command=fetch", f"object-format={self.made.object_format}")) + b"0001"
        body += b"".join(pkt(line + "\n") for line in request.lines_of_protocol()) + b"0000"
        done = subprocess.run(["git", "upload-pack", "--stateless-rpc", str(self.made.path)], input=body,
                              capture_output=True, timeout=60, env=ENVIRONMENT | {"GIT_PROTOCOL": "version=2"})
        expect(done.returncode == 0, f"oracle: upload-pack: {done.stderr.decode(errors='replace')}")
        pack, shallow, unshallow = b"", set(), set()
        for line in packets(done.stdout):
            if line.startswith((b"shallow ", b"unshallow ")):
                (unshallow if line.startswith(b"u") else shallow).add(line.split(b" ")[1].decode().strip())
            elif line.startswith(b"\1"):
                pack += line[1:]
            expect(not line.startswith((b"ERR", b"\3")), f"oracle: upload-pack: {line}")
        return pack, shallow, unshallow

    def git_objects(self, pack):
        return {name_of for _, name_of in self.index(self.knowing, pack, fix_thin=True)}

    def revision_list(self, request):
        known = [name_of for name_of in request.haves if name_of in self.graph.kinds]
        lines = request.wants + [f"^{name_of}" for name_of in known]
        listed = run_git(self.made.path, "rev-list", "--objects", "--stdin", input="\n".join(lines),
                         environment={"GIT_NO_REPLACE_OBJECTS": "1"})
        return {line.split(b" ")[0].decode() for line in listed.splitlines()}


class Needed:
    """What a client has, and what it must get: by sets, as the graph says."""

    def __init__(self, subject, request):
        graph = subject.graph
        told = set(request.shallows) & set(graph.parents)
        self.new_edge, deeper = set(), set()
        if request.depth == INFINITE_DEPTH:
            deeper = told & subject.visible
        elif request.depth:
            inside, edge = graph.commits_within(request.wants, request.depth)
            deeper, self.new_edge = told & inside, edge - told
        self.deeper = deeper
        tips = request.wants + [parent for name_of in deeper for parent in graph.parents[name_of]]
        # A client has the commits that it calls shallow; git counts on it where it takes them deeper.
        self.held = graph.closure([*request.haves, *told], cut=told)
        self.wanted = graph.closure(tips, cut=told | self.new_edge)
        self.after = (told - deeper) | self.new_edge  # what is shallow at the client when it has the answer
        known = graph.closure([*request.haves, *deeper], cut=told)
        self.objects = {name_of for name_of in self.wanted - known if request.keeps(graph, name_of)}
        if request.filter:
            self.held = {name_of for name_of in self.held if request.keeps(graph, name_of)}
        self.tags = {}  # what include-tag may add: tag -> what it peels to
        self.due_tags = set()  # what it must: not the tags behind one that goes anyway, as in git
        for name_of, peeled in subject.tags.items() if request.include_tag else ():
            due = name_of not in self.objects and peeled in self.objects
            while graph.kinds[name_of] == "tag":
                self.tags[name_of] = peeled
                self.due_tags |= {name_of} if due else set()
                name_of = graph.links[name_of][0]


class Judge:
    def __init__(self, subject):
        self.subject = subject
        self.made = subject.made

    def judge(self, request, answer, path, thorough):
        """`thorough`: also ask git where sets alone would do, and try thin packs in clients that hold nothing else."""
        status, *words = answer.split(" ")
        said = dict(word.partition("=")[::2] for word in words if "=" in word)
        rest = words[0] if words else ""
        graph, visible = self.subject.graph, self.subject.visible
        bad = [name_of for name_of in request.wants if name_of not in visible]
        for_git = self.made.features & FOR_GIT
        expect(status in ("planned", "negotiating", "fallback", "missing"), f"answer: {answer}")
        if "damaged" in self.made.features:
            return Verdict(f"{status}, damaged")
        if status == "fallback":
            fits = {"repository": for_git, "filter": request.filter, "shallow": request.depth or request.shallows,
                    "negotiation": request.haves, "layout": self.made.layout == "index_version_1"}
            expect(fits.get(rest), f"fallback {rest} does not fit")
            return Verdict(status, rest)
        expect(not for_git, f"{status}, though git must answer for this repository")
        if status == "missing":
            expect(any(name_of not in graph.kinds for name_of in bad), "missing, though all wants are there")
            return Verdict(status)
        self.judge_common(request, status, said)
        if status == "negotiating":
            return Verdict(status)
        unknown = [name_of for name_of in bad if name_of not in graph.kinds]
        expect(not unknown, f"planned, though {names(unknown)} is not there")
        return self.judge_pack(request, said, path.read_bytes(), thorough)

    def judge_common(self, request, status, said):
        """Which haves count: the commits that are to be seen. Whether they are enough: each wanted commit reaches one."""
        graph = self.subject.graph
        seen = {name_of for name_of in request.haves if name_of in self.subject.visible & graph.parents.keys()}
        common = id_list(said.get("common"))
        expect(common <= seen, f"common: {names(common - seen, graph)}")
        expect(common == seen or self.subject.skewed, f"not common: {names(seen - common, graph)}")
        wanted = [name_of for name_of in map(graph.peeled, request.wants) if name_of in graph.parents]
        # A boundary may be where it ends or not: git has not heard of any when it answers this.
        told = graph.parents.keys() & set(request.shallows)
        edge = told | graph.commits_within(request.wants, request.depth)[1] if request.depth else told
        enough = {bool(common) and all(graph.closure([name_of], cut) & common for name_of in wanted)
                  for cut in (frozenset(), told, edge)}
        ready = said.get("ready") == "1"
        expect(ready in enough or status == "planned", f"ready: {ready}")
        if request.more:
            expect((status == "planned") == ready, f"{status}, ready: {ready}")
        else:
            expect(status == "planned", f"{status}, though the client has nothing more to say")

    def judge_pack(self, request, said, pack, thorough):
        subject, graph = self.subject, self.subject.graph
        needed = Needed(subject, request)
        plain = not (request.haves or request.filter or request.shallows)
        expect(pack[:8] == b"PACK\0\0\0\2", "no pack")
        count = struct.unpack_from(">I", pack, 8)[0]
        expect(len(pack) == int(said["bytes"]), f"{len(pack)} bytes, said {said['bytes']}")
        expect(count == int(said["objects"]), f"{count} objects, said {said['objects']}")
        shallow, unshallow = id_list(said["shallow"]), id_list(said["unshallow"])
        entries = subject.index(subject.knowing if request.thin else subject.empty, pack, fix_thin=request.thin,
                                strict=plain and not request.thin, shallow=shallow)
        got = {name_of for _, name_of in entries}
        expect(len(got) == count == len(entries), "an object is there twice")
        # Whether a want may be had is the caller's question: what it reaches, it reaches.
        allowed = subject.visible | graph.closure(set(request.wants) - subject.visible)
        expect(got <= allowed, f"LEAK: {names(got - allowed, graph)}")
        expect(needed.objects <= got, f"not sent: {names(needed.objects - got, graph)}")
        subject.check_bases(pack, entries, request, needed.held)
        verdict = Verdict("planned", kind=request.kind(), objects=count, pack_bytes=len(pack), cpu_us=int(said["cpu_us"]))
        tags = {name_of for name_of, peeled in needed.tags.items() if peeled in got}
        due = needed.due_tags - needed.held
        expect(due <= got, f"tags not sent: {names(due - got, graph)}")
        surplus = got - needed.objects - tags
        blobs = {name_of for name_of in surplus if graph.kinds[name_of] == "blob"}
        verdict.surplus_blobs, verdict.surplus_bytes = len(blobs), sum(graph.sizes[name_of] for name_of in blobs)
        if request.depth or request.filter or request.shallows or thorough or surplus - blobs:
            git_pack, git_shallow, git_unshallow = subject.git_answer(request)
            theirs = subject.git_objects(git_pack)
            verdict.git_bytes = len(git_pack)
            unsent = needed.objects - theirs - set(request.wants if request.filter else ())
            if set(request.shallows) & set(graph.kinds) <= subject.visible:  # git follows hidden ones
                expect(not unsent, f"oracle: git does not send {names(unsent, graph)}")
            again = surplus - blobs - theirs
            expect(again <= needed.wanted, f"nobody asked for {names(again - needed.wanted, graph)}")
            verdict.sent_again = len(again)
            expect(shallow == git_shallow, f"shallow {names(shallow)}; git says {names(git_shallow)}")
            expect(unshallow <= git_unshallow, f"unshallow {names(unshallow)}; git says {names(git_unshallow)}")
        expect(shallow == needed.new_edge, f"shallow {names(shallow)}, not {names(needed.new_edge)}")
        expect(unshallow == needed.deeper, f"unshallow {names(unshallow)}, not {names(needed.deeper)}")
        if thorough and not (request.depth or request.filter or request.shallows):
            listed = subject.revision_list(request)
            expect(needed.objects <= listed <= needed.wanted, "oracle: rev-list lists other objects")
            expect(request.haves or listed == needed.objects, "oracle: rev-list lists other objects than are reached")
        if thorough and request.haves and not request.filter:
            self.try_in_client(request, needed, pack)
        return verdict

    def try_in_client(self, request, needed, pack):
        """In a repository that holds what the client holds and nothing else."""
        client = self.subject.new_client("exact.git")
        try:
            if needed.held:
                base = run_git(self.made.path, "pack-objects", "-q", "--stdout", input="\n".join(sorted(needed.held)))
                # The shallow file makes the check of links end where the client's history does.
                run_git(client, "index-pack", "--stdin", input=base)
                for file in (client / "objects/pack").iterdir():
                    file.rename(client / "objects/pack" / file.name.replace("pack-", "held-"))
            shallow = needed.after | (set(request.shallows) & set(self.subject.graph.parents))
            got = self.subject.index(client, pack, fix_thin=True, strict=True, shallow=shallow)
            expect(got, "no objects") if needed.objects else None
        finally:
            shutil.rmtree(client)


def id_list(text):
    return set(filter(None, (text or "").split(",")))


def pkt(text):
    return f"{len(text) + 4:04x}{text}".encode()


def packets(answer):
    at = 0
    while at < len(answer):
        size = int(answer[at:at + 4], 16)
        if size > 4:
            yield answer[at + 4:at + size]
        at += max(size, 4)
