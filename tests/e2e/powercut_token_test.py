"""Goal: a token that was added or revoked is so after a power cut at any moment, and no other is lost. Method:
that of powercut_test.py, for the files that `weir token` writes.
"""
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import unittest

from powercut_disk import Disk, states_of, text_of
from powercut_record import Recording, strace
from weir_server import BINARY

NEW = ["--tenant", "*", "--subject", "tester", "--scopes", "read"]


class TokenPowerCutTest(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-scratch-")).resolve()
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.folder, self.number, self.listed = self.scratch / "state", 0, {None: set()}
        self.folder.mkdir()

    def weir_token(self, command, file, *arguments, wrapper=(), check=True):
        return subprocess.run([*wrapper, BINARY, "token", command, "--file", file, *arguments],
                              capture_output=True, text=True, check=check)

    def ids(self, text):
        """What `weir token list` makes of such a file."""
        if text not in self.listed:
            file = self.scratch / "of-a-cut"
            file.write_text(text)
            file.chmod(0o600)
            listed = self.weir_token("list", file, check=False)
            self.listed[text] = (listed.stderr if listed.returncode
                                 else {line.split()[0] for line in listed.stdout.splitlines()[1:]})
        return self.listed[text]

    def ids_now(self):
        file = self.folder / "tokens"
        return self.ids(file.read_text() if file.exists() else None)

    def check(self, command, *arguments, descriptor):
        self.number += 1
        start, record = self.scratch / f"start{self.number}", self.scratch / f"calls{self.number}"
        shutil.copytree(self.folder, start)
        before = self.ids_now()
        self.weir_token(command, self.folder / "tokens", *arguments, wrapper=strace(record))
        after = self.ids_now()
        self.assertEqual(len(before ^ after), 1)
        recording = Recording(record, [self.folder], os.getcwd())
        told = recording.told(b"", f"{descriptor}<")[0]

        def losses(ignore):
            disk, rng = Disk(self.folder, self.folder, start).replay(recording.events, ignore), random.Random(1)
            return [(model, cut) for cut in sorted({*disk.cuts(), told}) for model, state in states_of(disk, cut, rng)
                    if self.ids(text_of(state, "tokens")) not in ([after] if cut >= told else [before, after])]
        self.assertEqual(losses(lambda event: False), [])
        self.assertTrue(losses(lambda event: event.path.endswith(".tmp")), "without the file's sync")
        self.assertTrue(losses(lambda event: event.path == str(self.folder)), "without the folder's sync")
        return before ^ after

    def test_added_and_revoked_tokens_stay_so(self):
        self.check("add", *NEW, descriptor=1)
        second = self.check("add", *NEW, descriptor=1)
        self.check("revoke", *second, descriptor=2)


if __name__ == "__main__":
    unittest.main()
