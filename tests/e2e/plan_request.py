"""Requests as plan_tool takes them, and random ones for a repository."""
import dataclasses
import random

INFINITE_DEPTH = 2147483647
FILTERS = ["blob:none", "blob:none", "blob:limit=0", "blob:limit=100", "blob:limit=5000", "tree:0", "object:type=commit",
           "object:type=tree", "object:type=blob", "object:type=tag"]


@dataclasses.dataclass
class PlanRequest:
    wants: list
    haves: list = dataclasses.field(default_factory=list)
    shallows: list = dataclasses.field(default_factory=list)
    depth: int = 0
    filter: str = ""
    thin: bool = False
    ofs: bool = False
    include_tag: bool = False
    more: bool = False  # the client has more to say: a pack only if this is enough
    level: int = 0

    def line(self):
        words = [f"want {name_of}" for name_of in self.wants] + [f"have {name_of}" for name_of in self.haves]
        words += [f"shallow {name_of}" for name_of in self.shallows]
        words += [f"depth {self.depth}"] * bool(self.depth) + [f"filter {self.filter}"] * bool(self.filter)
        words += ["thin"] * self.thin + ["ofs"] * self.ofs + ["include-tag"] * self.include_tag
        words += ["more"] * self.more
        return " ".join([*words, f"level {self.level}"])

    def kind(self):
        return ("filter" if self.filter else "shallow" if self.depth or self.shallows else "fetch" if self.haves
                else "clone")

    def lines_of_protocol(self):
        """As arguments of a v2 fetch."""
        lines = [f"want {name_of}" for name_of in self.wants] + [f"have {name_of}" for name_of in self.haves]
        lines += [f"shallow {name_of}" for name_of in self.shallows]
        lines += [f"deepen {self.depth}"] * bool(self.depth) + [f"filter {self.filter}"] * bool(self.filter)
        lines += ["thin-pack"] * self.thin + ["ofs-delta"] * self.ofs + ["include-tag"] * self.include_tag
        return [*lines, "no-progress", "done"]

    def keeps(self, graph, name_of):
        """Whether the filter lets it through (what is wanted by name always passes)."""
        kind = graph.kinds[name_of]
        if not self.filter or name_of in self.wants:
            return True
        key, _, value = self.filter.replace("object:type", "type").partition("=")
        if key == "type":
            return kind == value
        if key == "tree:0":
            return kind not in ("tree", "blob")
        return kind != "blob" or (key == "blob:limit" and graph.sizes[name_of] < int(value))


class RequestMaker:
    """Request `k` of repository `seed` is the same whatever was asked before it."""

    def __init__(self, seed, subject):
        self.seed = seed
        self.graph, self.tips, self.visible = subject.graph, sorted(subject.tips), subject.visible
        self.seen = {kind: sorted(n for n in subject.visible if self.graph.kinds[n] == kind)
                     for kind in ("commit", "tree", "blob", "tag")}
        self.unseen = sorted(set(self.graph.kinds) - subject.visible)
        self.unseen_commits = [n for n in self.unseen if self.graph.kinds[n] == "commit"]
        self.hex_digits = subject.hex_digits

    def make(self, k):
        self.random = random.Random(f"request {self.seed} {k}")
        request = PlanRequest(self.wants())
        chance = self.random.random()
        if chance < 0.45:
            request.haves = self.haves(self.random.choices(self.seen["commit"], k=self.random.choice([1, 1, 2, 4])))
        elif chance < 0.6:
            self.shallow_client(request)
        if self.random.random() < 0.2 or (request.shallows and self.random.random() < 0.6):
            request.depth = self.random.choice([1, 1, 2, 3, 10, INFINITE_DEPTH])
        if self.random.random() < 0.2:
            request.filter = self.random.choice(FILTERS)
        request.thin = self.random.random() < (0.7 if request.haves else 0.2)
        request.ofs = self.random.random() < 0.85
        request.include_tag = self.random.random() < 0.4
        request.more = bool(request.haves) and self.random.random() < 0.3
        request.level = self.random.choice([0, 0, 1, 2, 3])
        return request

    def some(self, ids, most):
        return self.random.sample(ids, min(len(ids), self.random.randrange(1, most + 1)))

    def no_object(self):
        return "".join(self.random.choices("0123456789abcdef", k=self.hex_digits))

    def wants(self):
        chance = self.random.random()
        if chance < 0.3:
            wants = list(self.tips)
        elif chance < 0.5:
            wants = self.some(self.tips, 1)
        elif chance < 0.65:
            wants = self.some(self.tips, 5)
        elif chance < 0.83:
            wants = self.some(self.seen["commit"], 3)
        elif chance < 0.93:
            wants = self.some(sorted(self.visible), 6)
        else:
            wants = self.some(self.tips, 2)
            bad = [self.no_object()] if self.random.random() < 0.4 or not self.unseen else self.some(self.unseen, 2)
            wants += bad
        self.random.shuffle(wants)
        return wants

    def haves(self, commits):
        """What a client that has `commits` may say: them, some that they reach, some that nobody knows here."""
        below = sorted(n for n in self.graph.closure(commits) if self.graph.kinds[n] == "commit")
        haves = commits + self.random.sample(below, min(len(below), self.random.choice([0, 3, 20])))
        if self.random.random() < 0.2:
            haves += [self.no_object() for _ in range(3)]
        if self.random.random() < 0.08 and self.unseen:
            haves += self.some(self.unseen, 2)
        if self.random.random() < 0.08:
            haves += self.some(self.seen["tag"] or self.tips, 2)
        if self.random.random() < 0.03:
            haves += self.some(self.seen["tree"] + self.seen["blob"], 2)
        self.random.shuffle(haves)
        return list(dict.fromkeys(haves))

    def shallow_client(self, request):
        """A client that cloned some tips to some depth; or one that says so of any commits."""
        cloned = self.some(self.tips, 2)
        inside, edge = self.graph.commits_within(cloned, self.random.choice([1, 2, 3, 6]))
        request.shallows = sorted(edge)
        if self.random.random() < 0.1:
            request.shallows = self.some(self.seen["commit"], 3)
        elif self.random.random() < 0.05:
            request.shallows += [self.no_object(), *self.some(self.unseen_commits, 1)]
        if inside | edge:
            request.haves = self.some(sorted(inside | edge), 8)
