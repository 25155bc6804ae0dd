"""Goal: the systemd units are ones that systemd takes. Method: systemd-analyze, with the binary under test."""
import pathlib
import subprocess
import tempfile
import unittest

from weir_server import BINARY, ROOT


class UnitsTest(unittest.TestCase):
    def test_systemd_takes_the_units(self):
        with tempfile.TemporaryDirectory() as folder:
            units = []
            for name in ("weir.service", "weir.socket"):
                text = (ROOT / "deploy" / name).read_text().replace("/usr/bin/weir", str(BINARY))
                units.append(pathlib.Path(folder) / name)
                units[-1].write_text(text)
            verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
        self.assertEqual((verified.returncode, verified.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
