"""The kernel interface: epoll on demand, and how an operator sees which one is in use."""
import json
import subprocess
import unittest

from weir_server import BINARY, Weir


class KernelInterfaceTest(unittest.TestCase):
    def test_epoll_serves_and_is_seen_in_metrics_and_status(self):
        with Weir(arguments=["--io", "epoll"]) as weir:
            weir.make_repository("t/r.git")
            weir.git("ls-remote", weir.url("t/r.git"))
            self.assertIn('weir_io_backend{kind="epoll"} 1', weir.admin("/metrics")[1])
            status = json.loads(weir.admin("/v1/status", weir.state / "admin.sock")[1])
            self.assertEqual(status["io"], "epoll")
            self.assertNotIn("using epoll", weir.log_text() + weir.output_text())

    def test_another_name_is_refused(self):
        refused = subprocess.run([BINARY, "serve", "--io", "select"], capture_output=True, text=True)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("epoll", refused.stderr)
