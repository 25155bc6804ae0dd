"""Goal: equal fetches cost one plan, whatever happens to the repository beside them, and what was planned for those
who may see something is not given to those who may not. Method: real clients, some at once, over a repository that is
repacked, pushed to and partly hidden in between; plans are counted on /metrics, every clone is checked by fsck."""
import re
from concurrent.futures import ThreadPoolExecutor

from weir_server import WeirTestCase, commit, fsck, git, make_work_tree


class HerdTest(WeirTestCase):
    def setUp(self):
        super().setUp()
        self.served = self.weir.make_repository(f"acme/{self.id().rpartition('.')[2]}.git")
        self.work = make_work_tree(self.scratch / "work", commits=12)
        git("push", "-q", "--mirror", self.served, cwd=self.work)
        self.clones = 0

    def counted(self, series):
        return int(re.search(rf"^{re.escape(series)} (\d+)$", self.weir.admin("/metrics")[1], re.M)[1])

    def plans(self):
        return self.counted("weir_planner_plans_total")

    def misses(self):
        return self.counted('weir_recipe_cache_answers_total{result="miss"}')

    def clone(self, *arguments, http="HTTP/2"):
        self.clones += 1
        target = self.scratch / f"clone{self.clones}"
        self.weir.git("clone", "-q", "--bare", *arguments, self.weir.url(f"acme/{self.served.name}"), target, http=http)
        fsck(target)
        return target

    def test_a_herd_of_clones_is_one_plan(self):
        before = self.plans()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: self.clone(http=("HTTP/1.1", "HTTP/2")[number % 2]), range(24)))
        self.assertEqual(self.plans() - before, 1)

    def test_a_push_is_one_miss_more_and_is_seen_by_the_next_clone(self):
        self.clone()
        before = self.misses()
        for number in range(3):
            new = commit(self.work, "added.txt", f"{number}\n")
            git("push", "-q", self.served, "main", cwd=self.work)
            for _ in range(3):
                self.assertEqual(git("rev-parse", "main", cwd=self.clone()).out.strip(), new)
        self.assertEqual(self.misses() - before, 3)

    def test_what_was_planned_is_given_out_though_its_packs_were_deleted(self):
        git("gc", "-q", cwd=self.served)
        self.clone()
        before = self.plans()
        git("repack", "-q", "-a", "-d", "-f", cwd=self.served)
        self.clone()
        self.assertEqual(self.plans() - before, 0)

    def test_a_tag_that_is_hidden_from_now_on_is_not_sent_along_any_more(self):
        branch = ("--single-branch", "--branch", "main")
        tag = git("rev-parse", "v1.0", cwd=self.work).out.strip()
        self.assertEqual(git("cat-file", "-t", tag, cwd=self.clone(*branch)).out.strip(), "tag")
        git("config", "transfer.hideRefs", "refs/tags/v1.0", cwd=self.served)
        self.assertNotEqual(git("cat-file", "-t", tag, cwd=self.clone(*branch), check=False).returncode, 0)


if __name__ == "__main__":
    import unittest
    unittest.main()
