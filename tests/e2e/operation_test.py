"""Goal: what an operator relies on: logs that can be rotated, settings that change without a restart,
settings that are enforced, metrics. Method: one server with unusual settings, real git, curl, the log."""
import subprocess
import unittest

from weir_server import GIT_ENVIRONMENT, WeirTestCase, git, make_work_tree


class OperationTest(WeirTestCase):
    config = """
[git]
allow_filter = false
fetch_slots = 1
planners = 0
[limits]
queue_wait_max_s = 1
"""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.served = cls.weir.make_repository("acme/site.git")
        git("push", "-q", "--mirror", cls.served, cwd=make_work_tree(cls.weir.folder / "work"))

    def ls(self):
        self.weir.git("ls-remote", self.weir.url("acme/site.git"))

    def metric(self, name):
        _, text = self.weir.admin("/metrics")
        values = [line.split()[-1] for line in text.splitlines()
                  if line.startswith((name + " ", name + "{"))]
        self.assertTrue(values, name)
        return sum(map(float, values))

    def test_log_goes_on_in_a_new_file_after_rotation(self):
        self.ls()
        self.weir.wait_for_record(lambda record: record["operation"] == "ls-refs")
        rotated = self.weir.folder / "requests.log.1"
        self.weir.log_path.rename(rotated)
        self.weir.reload()
        self.ls()
        self.weir.wait_for_record(lambda record: record["operation"] == "ls-refs")
        for path in (rotated, self.weir.log_path):
            for line in path.read_text().splitlines():
                self.assertTrue(line.startswith("{") and line.endswith("}"), line)

    def test_log_is_rotated_although_the_configuration_is_broken(self):
        good = self.weir.config_path.read_text()
        self.weir.log_path.rename(self.weir.folder / "requests.log.2")
        try:
            self.weir.config_path.write_text(good + "\n[gti]\n")
            self.weir.reload()
            self.assertIn("reload refused", self.weir.log_text())
        finally:
            self.weir.config_path.write_text(good)

    def test_request_records_can_be_switched_off_without_a_restart(self):
        good = self.weir.config_path.read_text()
        try:
            self.weir.config_path.write_text(good.replace("[log]", "[log]\nrequests = false"))
            self.weir.reload()
            before = len(self.weir.records())
            self.ls()
            self.weir.config_path.write_text(good)
            self.weir.reload()
            self.assertEqual(len(self.weir.records()), before)
        finally:
            self.weir.config_path.write_text(good)

    def test_filters_are_neither_offered_nor_taken_where_the_operator_forbids_them(self):
        git("config", "uploadpack.allowFilter", "true", cwd=self.served)
        for protocol in (0, 2):
            target = self.scratch / f"clone{protocol}"
            result = self.weir.git("clone", "-q", "--filter=blob:none",
                                   self.weir.url("acme/site.git"), target, protocol=protocol)
            self.assertIn("filtering not recognized", result.err)
            missing = git("rev-list", "--objects", "--all", "--missing=print", cwd=target).out
            self.assertNotIn("?", missing)

    def test_fetch_that_waits_too_long_for_a_slot_is_told_so(self):
        # The first fetch holds the only slot: its pack is larger than all buffers on its way.
        big = self.weir.make_repository("acme/big.git")
        work = self.scratch / "work"
        git("init", "-q", "-b", "main", work)
        (work / "big").write_bytes(subprocess.run(["head", "-c", "60000000", "/dev/urandom"],
                                                  check=True, capture_output=True).stdout)
        git("add", "big", cwd=work)
        git("commit", "-q", "-m", "big", cwd=work)
        git("push", "-q", big, "main", cwd=work)
        tip = git("rev-parse", "main", cwd=big).out.strip()
        request = (b"0011command=fetch0001" + f"0032want {tip}\n".encode() + b"0009done\n0000")
        holder = subprocess.Popen(
            ["curl", "-sS", "--cacert", self.weir.certificate, "-X", "POST", "--data-binary", "@-",
             "-H", "Content-Type: application/x-git-upload-pack-request", "-H",
             "Git-Protocol: version=2", self.weir.url("acme/big.git") + "/git-upload-pack"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=GIT_ENVIRONMENT)
        try:
            holder.stdin.write(request)
            holder.stdin.close()
            self.assertEqual(holder.stdout.read(1), b"0")  # the slot is taken
            result = self.weir.git("clone", "-q", self.weir.url("acme/site.git"),
                                   self.scratch / "late", check=False)
            self.assertIn("the server is busy", result.err)
        finally:
            holder.kill()
            holder.stdout.close()
            holder.wait()
        record = self.weir.wait_for_record(
            lambda r: r["operation"] == "clone" and r["decision"] == "refused")
        self.assertGreaterEqual(record["slot_wait_us"], 900_000)
        self.assertGreaterEqual(self.metric("weir_git_slots_refused_total"), 1)

    def test_metrics_tell_about_loops_connections_and_bounds(self):
        self.ls()
        for name in ("weir_loop_turns_total", "weir_loop_turn_max_microseconds",
                     "weir_loop_slow_turns_total", "weir_loop_turn_seconds_count",
                     "weir_loop_run_queue_microseconds_total", "weir_recvs_parked", "weir_connections_open",
                     "weir_connections_handed_off_total", "weir_accepting_paused_total",
                     "weir_blocking_queue", "weir_git_worker_waiting", "weir_held_bytes",
                     "weir_locator_entries", "weir_damping_entries", "weir_refs_bytes",
                     "weir_tls_handshakes_total",
                     "weir_tls_certificate_expiry_timestamp_seconds", "weir_requests_in_flight",
                     "weir_log_dropped_total", "weir_git_slots_waiting"):
            self.metric(name)

    def test_start_prints_the_memory_budgets(self):
        logs = "".join(path.read_text() for path in self.weir.folder.glob("requests.log*"))
        self.assertIn("memory at most ", logs)


if __name__ == "__main__":
    unittest.main()
