"""Goal: whenever the power is cut, what was acknowledged is there and everything is whole. Method: every write,
name and sync of real pushes, and of the server's own files, is recorded (powercut_record.py); for each moment
the states that a disk may then hold (powercut_disk.py) are built and judged by git, and some of them are
served again. The repositories and the state folder count as two file systems. That a loss would be seen is
shown by ignoring one kind of sync after the other. WEIR_POWERCUT_STATES, WEIR_POWERCUT_SEED: how many states git
looks at beside the worst of each moment, and which.
"""
import concurrent.futures
import json
import os
import pathlib
import random
import re
import select
import shutil
import subprocess
import tempfile
import threading
import unittest

from powercut_disk import FOLDER, Disk, File, digest, put, states_of, text_of
from powercut_record import Recording, strace
from powercut_scenarios import scenarios
from processes import wait_until
from weir_server import GIT_ENVIRONMENT, Weir, commit, fsck, git

STATES = int(os.environ.get("WEIR_POWERCUT_STATES", "300"))
SEED = int(os.environ.get("WEIR_POWERCUT_SEED", "1"))
RESTARTS = max(6, STATES // 100)
NOTHING = lambda event: False  # noqa: E731
OBJECT_ID = re.compile(r"[0-9a-f]{40}")


def read_refs(state):
    """As git reads them; a ref that it cannot read stands for itself."""
    refs = {}
    for line in (text_of(state, "packed-refs") or "").splitlines():
        if not line.startswith(("#", "^")):
            value, _, name = line.partition(" ")
            refs[name] = value
    for path in state:
        if path.startswith("refs/") and not path.endswith(".lock") and state[path] != FOLDER:
            refs[path] = text_of(state, path).removesuffix("\n")
    return {name: value if OBJECT_ID.fullmatch(value) else f"unreadable: {value!r}"
            for name, value in refs.items()}


def leftovers(state):
    """What would stop a later push or stay for ever."""
    return sorted(path for path in state if path.endswith((".lock", ".keep")) and "/tmp_objdir" not in path
                  or re.fullmatch(r"objects/tmp_objdir-incoming-[^/]+", path))


def lines_of(text, key):
    return {line.partition(" ")[2] for line in text.splitlines() if line.startswith(key + " ")}


class Judge:
    """Asks git about states, each once, on all cores."""

    def __init__(self, folder):
        self.folder, self.asked, self.number = folder, {}, 0
        self.pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        self.room = threading.Semaphore(50)  # states that wait in memory

    def whole(self, state):
        """A future of what `git fsck` says against it, "" if nothing."""
        return self.ask(state, "fsck", ["git", "fsck", "--strict", "--no-dangling", "--no-progress"], b"")

    def reachable(self, state, ids):
        """The same, of all that these objects reach."""
        wanted = "".join(f"{oid}\n" for oid in sorted(set(ids))).encode()
        return self.ask(state, wanted, ["git", "pack-objects", "--revs", "--stdout", "-q"], wanted)

    def ask(self, state, question, command, given):
        key = (digest(state), question)
        if key not in self.asked:
            self.number += 1
            self.room.acquire()
            at = self.folder / str(self.number)
            self.asked[key] = self.pool.submit(self.run, state, at, command, given)
            self.asked[key].add_done_callback(lambda _: self.room.release())
        return self.asked[key]

    @staticmethod
    def run(state, at, command, given):
        put(state, at)
        done = subprocess.run(command, cwd=at, input=given, env=GIT_ENVIRONMENT, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        shutil.rmtree(at)
        return "" if done.returncode == 0 else done.stderr.decode(errors="replace")[:500] or "failed"


class PowerCut:
    """The states of one repository, and what is wrong with them."""

    def __init__(self, scenario, disk, judge, seed):
        self.scenario, self.disk, self.judge = scenario, disk, judge
        self.random = random.Random(f"{seed} {scenario.name}")
        self.cuts = sorted(set(disk.cuts()) | {push.told for push in scenario.pushes})
        self.problems, self.waiting = [], []

    def look(self, model, cut, state):
        refs = read_refs(state)
        promised, after = self.scenario.refs_at(cut)
        for ref in promised.keys() | refs.keys() | after.keys():
            allowed = {promised.get(ref)}
            if ref in after:
                allowed.add(after[ref])
                if model == "arbitrary" and after[ref] is None:
                    allowed.add(refs.get(ref))  # an older one that was packed may show again
            if refs.get(ref) not in allowed:
                self.problems.append(f"{model} {cut}: {ref} is {refs.get(ref)}, not one of {allowed}")
        if model == "arbitrary":
            kept = [value for ref, value in promised.items() if ref not in after]
            self.waiting.append((model, cut, self.judge.reachable(state, kept)))
        else:
            self.waiting.append((model, cut, self.judge.whole(state)))

    def look_at_the_worst(self):
        for cut in self.cuts:
            self.look("strict", cut, self.disk.strict(cut))
            for names_until in {self.disk.floor(cut), cut}:
                self.look("journalled", cut, self.disk.journalled(cut, names_until))

    def look_at_any(self, states):
        """Random ones, until git has got that many."""
        enough, tries = self.judge.number + states, 0
        while self.judge.number < enough and tries < 3 * states:
            tries += 1
            cut = self.random.choice(self.cuts)
            if self.random.random() < 0.5:
                until = self.random.choice([place for place in [self.disk.floor(cut), *self.cuts]
                                            if self.disk.floor(cut) <= place <= cut])
                self.look("journalled", cut, self.disk.journalled(
                    cut, until, lambda: self.random.choice(["all", "none", "half", "zeros"])))
            else:
                self.look("arbitrary", cut, self.disk.arbitrary(cut, self.random))

    def found(self):
        for model, cut, answer in self.waiting:
            if answer.result():
                self.problems.append(f"{model} {cut}: {answer.result()}")
        self.waiting.clear()
        return self.problems


class PowerCutTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-scratch-")).resolve()
        cls.addClassCleanup(shutil.rmtree, cls.scratch, ignore_errors=True)
        (cls.scratch / "weir").mkdir()
        cls.weir = Weir(loops=1, arguments=["--io", "epoll"], folder=cls.scratch / "weir")
        cls.weir.prepare()
        cls.token = cls.weir.add_token()
        cls.scenarios = scenarios()
        for scenario in cls.scenarios:
            scenario.prepare(cls.weir, cls.scratch)
        shutil.copytree(cls.weir.folder, cls.scratch / "start", symlinks=True)
        cls.record(cls.scratch / "calls")
        cls.judge = Judge(cls.scratch / "judged")
        cls.judge.folder.mkdir()

    @classmethod
    def record(cls, path):
        weir = cls.weir
        weir.wrapper = strace(path, "-D")
        weir.start()
        try:
            tracer = int(re.search(r"TracerPid:\t(\d+)",
                                   pathlib.Path(f"/proc/{weir.process.pid}/status").read_text()).group(1))
            ended = os.pidfd_open(tracer)
            for scenario in cls.scenarios:
                url = weir.url(f"acme/{scenario.name}.git", cls.token)
                scenario.run(weir, url, "HTTP/1.1" if scenario.name < "m" else "HTTP/2")
                weir.git("ls-remote", url)
        finally:
            weir.stop()
        assert select.select([ended], [], [], 60)[0], "the record does not end"
        os.close(ended)
        shutil.copytree(weir.folder, cls.scratch / "end", symlinks=True, ignore=lambda folder, names: [
            name for name in names if pathlib.Path(folder, name).is_socket()])
        cls.recording = Recording(path, [weir.root, weir.state], os.getcwd())
        pushes = [push for scenario in cls.scenarios for push in scenario.pushes]
        told = cls.recording.told(b"unpack ok", r"\d+<TCP:\[")
        assert len(told) == len(pushes), (told, len(pushes))
        for push, place, before, after in zip(pushes, told, [0, *told], [*told[1:], cls.recording.end]):
            push.told, push.before, push.after = place, before, after

    def disk(self, folder, file_system, ignore=NOTHING):
        start = self.scratch / "start" / folder.relative_to(self.weir.folder)
        return Disk(folder, file_system, start).replay(self.recording.events, ignore)

    def repository(self, scenario, ignore=NOTHING):
        return self.disk(scenario.served, self.weir.root, ignore)

    def state_folder(self, ignore=NOTHING):
        return self.disk(self.weir.state, self.weir.state, ignore)

    def test_record_is_complete(self):
        for disk in [*map(self.repository, self.scenarios), self.state_folder()]:
            end = self.scratch / "end" / pathlib.Path(disk.folder).relative_to(self.weir.folder)
            now = Disk(disk.folder, disk.folder, end).whole(0)
            replayed = disk.whole(self.recording.end)
            self.assertEqual(sorted(now), sorted(replayed))
            for path, what in now.items():
                if isinstance(what, File):
                    self.assertEqual(what.data, replayed[path].data, path)

    def test_acknowledged_pushes_are_there_and_repositories_whole(self):
        cases = [PowerCut(scenario, self.repository(scenario), self.judge, SEED)
                 for scenario in self.scenarios]
        for case in cases:
            case.look_at_the_worst()
        worst = self.judge.number
        for case in cases:
            case.look_at_any(STATES // len(cases))
        problems = {case.scenario.name: found[:5] for case in cases if (found := case.found())}
        print(f"\n  seed {SEED}: {sum(len(case.cuts) for case in cases)} moments, {self.judge.number} states "
              f"judged by git, the worst of each moment {worst}")
        self.assertEqual(problems, {})

    def found_without(self, scenario, ignore):
        case = PowerCut(scenario, self.repository(scenario, ignore), self.judge, SEED)
        case.look_at_the_worst()
        return case.found()

    def test_without_syncfs_every_acknowledged_push_is_lost(self):
        for scenario in self.scenarios:
            for push in scenario.pushes:
                if push.accepted:
                    disk = self.repository(scenario, lambda event: event.kind == "syncfs"
                                           and push.before < event.ended <= push.told)
                    case = PowerCut(scenario, disk, self.judge, SEED)
                    case.cuts = [push.told]
                    case.look_at_the_worst()
                    self.assertTrue(any("not one of" in problem for problem in case.found()), scenario.name)

    def test_without_gits_own_syncs_a_ref_comes_before_what_it_names(self):
        for scenario in self.scenarios[:2]:
            found = self.found_without(scenario, lambda event: event.kind in ("fsync", "writeout"))
            self.assertTrue(any(problem.startswith("journalled") for problem in found), scenario.name)

    def record_losses(self, ignore=NOTHING, scenarios=None):
        """Locks and quarantines that no whole push record speaks of, whatever of either disk is lost."""
        rng = random.Random(SEED)
        state_disk = self.state_folder(ignore)
        for scenario in scenarios or self.scenarios:
            disk = self.repository(scenario, ignore)
            for cut in sorted(set(disk.cuts()) | {place for place in state_disk.cuts()
                                                  if disk.cuts()[1] <= place <= scenario.pushes[-1].after}):
                left = {path for _, state in states_of(disk, cut, rng) for path in leftovers(state)}
                if not left:
                    continue
                for model, state in states_of(state_disk, cut, rng):
                    known = set()
                    for path in state:
                        text = text_of(state, path) if re.fullmatch(r"pushes/.*\.push", path) else ""
                        if text.endswith("\nend\n") and str(scenario.served) in lines_of(text, "git_dir"):
                            known |= {"HEAD.lock", "packed-refs.lock"}
                            known |= {f"{ref}.lock" for ref in lines_of(text, "ref")}
                            known |= {path for path in left if path.startswith("objects/")}
                    yield from (f"{scenario.name} {cut} {model}: {path}" for path in left - known)

    def test_push_record_is_there_as_long_as_what_it_speaks_of(self):
        self.assertEqual(list(self.record_losses()), [])

    def test_without_its_syncs_a_push_record_is_lost(self):
        refused = [scenario for scenario in self.scenarios if not scenario.pushes[0].accepted]
        for what, ignore, where in [
                ("the record", lambda event: event.path.endswith(".push.tmp"), self.scenarios),
                ("its name", lambda event: event.path.endswith("/pushes"), self.scenarios),
                ("the folder's name", lambda event: event.path == str(self.weir.state), self.scenarios),
                ("what a refused push removed", lambda event: event.kind == "syncfs", refused)]:
            self.assertTrue(any(self.record_losses(ignore, where)), what)

    def log_records(self):
        for call in self.recording.calls:
            if call.name == "write" and str(self.weir.log_path) in [path for _, path, _ in call.descriptors()]:
                for line in call.strings()[0].splitlines():
                    yield call.ended, json.loads(line)

    def generation_losses(self, ignore=NOTHING):
        """States in which a number could be given out again. Where the file is not there the clock decides."""
        rng, disk = random.Random(SEED), self.state_folder(ignore)
        told = {}  # {path: [(place, number)]}; a request is logged after it was answered
        last = {}
        for path, what in disk.whole(self.recording.end).items():
            if re.fullmatch(r"refs/[0-9a-f]+", path):
                last[int(what.data.split()[1])] = path
        for scenario in self.scenarios:
            numbers = [(place, record["generation"]) for place, record in self.log_records()
                       if record.get("repository") == f"{scenario.name}.git" and "generation" in record]
            told[last[max(number for _, number in numbers)]] = numbers
        self.assertEqual(len(told), len(self.scenarios))
        for cut in sorted(set(disk.cuts()) | {place for numbers in told.values() for place, _ in numbers}):
            for model, state in states_of(disk, cut, rng):
                for path, numbers in told.items():
                    text = text_of(state, path)
                    given = max((number for place, number in numbers if place <= cut), default=0)
                    if text and text.endswith("\n") and int(text.split()[2]) < given:
                        yield f"{model} {cut}: {given} was given out, {text}"

    def test_generation_is_never_lower(self):
        self.assertEqual(list(self.generation_losses()), [])

    def test_without_their_syncs_generations_are_lower(self):
        self.assertTrue(any(self.generation_losses(
            lambda event: event.path.startswith(f"{self.weir.state}/refs"))))

    def put_back(self, cut, rng):
        """Both disks as they may be after the cut, where they were."""
        for folder in (self.weir.root, self.weir.state):
            shutil.rmtree(folder)
        self.weir.root.mkdir()
        (self.weir.root / "acme").mkdir()
        for scenario in self.scenarios:
            disk = self.repository(scenario)
            put(rng.choice([disk.whole(cut), disk.journalled(cut, cut), disk.journalled(cut, disk.floor(cut))]),
                scenario.served)
        put(self.state_folder().strict(cut), self.weir.state)

    def test_a_server_that_starts_after_the_cut_cleans_up_and_takes_pushes(self):
        choice = []
        for scenario in self.scenarios:
            disk = self.repository(scenario)
            cuts = {tuple(left): cut for cut in disk.cuts() if (left := leftovers(disk.whole(cut)))}
            choice += [(scenario, cut) for cut in cuts.values()]
        self.weir.wrapper, rng = [], random.Random(SEED)
        for scenario, cut in rng.sample(choice, min(RESTARTS, len(choice))):
            with self.subTest(scenario=scenario.name, cut=cut):
                self.put_back(cut, rng)
                self.weir.start()
                try:
                    def left(served=scenario.served):
                        return [path.relative_to(served) for path in served.rglob("*")
                                if leftovers({str(path.relative_to(served)): FOLDER})]
                    wait_until(lambda: not left(), 20, left)  # swept beside the start
                    commit(scenario.work, "after", f"{cut}\n")
                    refs = [ref for push in scenario.pushes for ref in push.updates] or ["refs/heads/main"]
                    self.weir.git("push", "-q", "--force", self.weir.url(f"acme/{scenario.name}.git", self.token),
                                  *[f"HEAD:{ref}" for ref in dict.fromkeys(refs)], cwd=scenario.work)
                    fsck(scenario.served)
                finally:
                    self.weir.stop()


if __name__ == "__main__":
    unittest.main()
