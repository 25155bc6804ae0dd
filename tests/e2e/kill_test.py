"""Goal: kill -9 of any process at any moment loses nothing that was acknowledged and needs no human.
Method: real git clients push, fetch and clone while processes are killed at random (seeded), then the
served repositories are compared with what the clients were told. WEIR_KILLS and WEIR_KILL_SEED: how many,
and which ones.
"""
import http.client
import os
import pathlib
import random
import re
import shutil
import signal
import ssl
import statistics
import tempfile
import time
import unittest

from processes import children_of, command_line, descendants_of, descriptors_of, wait_until
from push_load import Load
from weir_server import Weir

KILLS = int(os.environ.get("WEIR_KILLS", "60"))
SEED = int(os.environ.get("WEIR_KILL_SEED", "1"))
QUICK_DEATH_SECONDS = 1.5  # one that dies young is restarted later, on purpose


OBJECT_FILES_MAX = 400  # a few repositories of some packs, as they are and as they were


class Killer:
    """Kills processes of one server, and watches how soon the next serving process answers."""

    def __init__(self, weir, load):
        self.weir, self.load = weir, load
        self.random = random.Random(f"{SEED} kills")
        self.restarts_ms = []
        self.serving_since = time.monotonic() - 10
        self.killed = {}

    def child(self, part):
        """The newest of that kind: a retired launcher may live on for a moment."""
        found = [pid for pid, name in children_of(self.weir.process.pid).items() if part in name]
        return max(found, default=None)

    def victims(self, kind):
        if kind in ("serving", "launcher"):
            pid = self.child(kind)
            return [pid] if pid else []
        if kind == "git":
            return self.load.git_processes()
        return [pid for pid in descendants_of(self.weir.process.pid)
                if f"git-{kind}" in command_line(pid)]

    def kill(self, kinds, kills):
        """`kinds`: {kind: weight}."""
        names, done = list(kinds), 0
        while done < kills:
            time.sleep(self.random.uniform(0.02, 0.3))
            kind = self.random.choices(names, [kinds[name] for name in names])[0]
            found = wait_until(lambda k=kind: self.victims(k), 30, f"a {kind} to kill")
            pid = self.random.choice(sorted(found))
            try:
                if kind == "serving":
                    self.kill_serving(pid)
                else:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            done += 1
            self.killed[kind] = self.killed.get(kind, 0) + 1

    def kill_serving(self, pid):
        before = self.counters()
        killed_at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.first_answer(killed_at + 20)
        answered_at = time.monotonic()
        if killed_at - self.serving_since > QUICK_DEATH_SECONDS:
            self.restarts_ms.append((answered_at - killed_at) * 1000)
        self.serving_since = answered_at
        after = self.counters()
        back = {name: (value, after.get(name)) for name, value in before.items()
                if after.get(name, -1) < value}
        assert not back, f"counters went back: {back}"

    def first_answer(self, deadline):
        """Connects and asks until there is an answer. Being refused is an error."""
        while True:
            try:
                context = ssl.create_default_context(cafile=self.weir.certificate)
                connection = http.client.HTTPSConnection("127.0.0.1", self.weir.port, timeout=10,
                                                         context=context)
                connection.request("GET", "/acme/none.git/info/refs?service=git-upload-pack")
                connection.getresponse().read()
                connection.close()
                return
            except ConnectionRefusedError:
                raise
            except (OSError, http.client.HTTPException):  # it was with the one that was killed
                if time.monotonic() > deadline:
                    raise

    def counters(self):
        _, text = self.weir.admin("/metrics")
        found = {name: float(value) for name, value in
                 re.findall(r"^(\S+_(?:total|count|bucket)(?:\{[^}]*\})?) (\S+)", text, re.M)}
        assert found, text
        return found


class KillTest(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-scratch-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.weir = Weir()
        self.addCleanup(self.weir.__exit__)
        self.weir.prepare()
        self.token = self.weir.add_token()
        self.weir.start()

    def load(self, **options):
        return Load(self.weir, self.token, self.scratch, seed=SEED, **options)

    def test_nothing_acknowledged_is_lost_whatever_is_killed(self):
        load = self.load()
        killer = Killer(self.weir, load)
        with load:
            killer.kill({"git": 10, "worker": 4, "planner": 4, "launcher": 2, "serving": 4}, KILLS)
            wait_until(lambda: load.acknowledged() > 0 and load.cloner.done > 0, 60, load.summary)
        print(f"\n  seed {SEED}, killed {killer.killed}: {load.summary()}")
        if killer.restarts_ms:
            print(f"  ms from kill to first answer, under load: median "
                  f"{statistics.median(killer.restarts_ms):.0f}, largest "
                  f"{max(killer.restarts_ms):.0f} of {len(killer.restarts_ms)}")
        load.check()

    def test_descriptors_stay_flat_while_children_and_launchers_are_killed(self):
        load = self.load(pushers=2)
        killer = Killer(self.weir, load)
        serving = killer.child("serving")
        with load:
            wait_until(lambda: load.acknowledged() > 5 and load.cloner.done > 1, 60, "a warm server")
            before = self.descriptors(serving)  # of a server at work
            killer.kill({"git": 5, "worker": 2, "planner": 2, "launcher": 1}, max(12, KILLS // 4))
        load.check()
        self.assertEqual(killer.child("serving"), serving, "it survives its children")
        wait_until(lambda: self.descriptors(serving) <= before, 20,
                   lambda: f"{self.descriptors(serving)} descriptors at rest, {before} at work before")

    def descriptors(self, pid):
        """Without the object files of repositories, which stay open for plans, bounded, and grow with each push."""
        folder = pathlib.Path(f"/proc/{pid}/fd")
        kept = 0
        for one in folder.iterdir():
            try:
                kept += str(self.weir.root) in os.readlink(one) or "memfd:weir-loose" in os.readlink(one)
            except FileNotFoundError:
                continue
        self.assertLess(kept, OBJECT_FILES_MAX)
        return descriptors_of(pid) - kept

    def test_serving_process_is_back_soon(self):
        killer = Killer(self.weir, None)
        for _ in range(5):
            killer.kill_serving(killer.child("serving"))
            time.sleep(QUICK_DEATH_SECONDS + 0.1)
        print(f"\n  ms from kill to first answer, idle: "
              f"{' '.join(f'{ms:.0f}' for ms in killer.restarts_ms)}")
        self.assertEqual(len(killer.restarts_ms), 5)
        self.assertLess(statistics.median(killer.restarts_ms), 2000)  # 300 ms on a machine at rest

    def test_generation_whose_supervisor_is_killed_exits_and_loses_nothing(self):
        with self.load() as load:
            for _ in range(max(2, KILLS // 100)):
                told = load.acknowledged()
                wait_until(lambda n=told: load.acknowledged() > n + 2, 60, "pushes")
                own = {pid for pid in descendants_of(self.weir.process.pid)}
                self.weir.process.kill()
                self.weir.process.wait()
                # Pushes with all their input may still finish; then nothing is left.
                wait_until(lambda pids=own: not [pid for pid in pids if self.is_ours(pid)], 30,
                           lambda pids=own: [command_line(pid) for pid in pids])
                self.weir.start()
        load.check()

    def is_ours(self, pid):
        return any(str(self.weir.folder) in part for part in command_line(pid))


if __name__ == "__main__":
    unittest.main()
