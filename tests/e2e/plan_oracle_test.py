"""Goal: plans of the planner are what real git would send; and the judge that says so would notice if they were not.
Method: plan_oracle.py over random repositories, with WEIR_ORACLE_REQUESTS requests from WEIR_ORACLE_SEED on; and answers
that are wrong on purpose, each in one way."""
import io
import os
import pathlib
import shutil
import tempfile
import unittest

import plan_oracle
from plan_judge import Failure, Judge, Subject
from plan_request import PlanRequest
from repository_maker import LAYOUTS, make, run_git

REQUESTS = int(os.environ.get("WEIR_ORACLE_REQUESTS", 600))
SEED = int(os.environ.get("WEIR_ORACLE_SEED", 0))


class PlanOracleTest(unittest.TestCase):
    def test_random_fetches_of_random_repositories(self):
        oracle = plan_oracle.Oracle(out=(said := io.StringIO()))
        oracle.run(SEED, REQUESTS, per_repository=min(60, REQUESTS // len(LAYOUTS)))
        self.assertEqual(oracle.failures, [], f"{oracle.report()}\n{said.getvalue()}")
        self.assertEqual(set(oracle.layouts), set(LAYOUTS))
        planned = [verdict for verdict in oracle.verdicts if verdict.status == "planned"]
        self.assertGreater(len(planned), REQUESTS // 2)


class JudgeTest(unittest.TestCase):
    """One repository, one answer of real git to each request; what is changed in it is noticed."""

    SEED = 42  # with tags, and with objects that are not to be seen

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-judge-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.made = make(cls.SEED, cls.folder)
        cls.subject = Subject(cls.made, cls.folder)
        cls.judge = Judge(cls.subject)
        graph = cls.subject.graph
        cls.tips = sorted(tip for tip in cls.subject.tips if graph.kinds[tip] == "commit")
        cls.tip = max(cls.tips, key=lambda tip: len(graph.closure([tip])))
        commits = sorted(n for n in graph.closure([cls.tip]) if graph.kinds[n] == "commit")
        cls.old = max((n for n in commits if n != cls.tip), key=lambda n: len(graph.closure([n])))
        cls.unseen = sorted(n for n in set(graph.kinds) - cls.subject.visible if graph.kinds[n] == "blob")
        assert cls.unseen and cls.subject.tags and graph.closure([cls.tip]) - graph.closure([cls.old])

    def judged(self, request, pack, **changes):
        path = self.folder / "answer"
        path.write_bytes(pack)
        said = {"objects": int.from_bytes(pack[8:12], "big"), "bytes": len(pack), "cpu_us": 1, "shallow": "",
                "unshallow": "", "common": ",".join(n for n in request.haves if n in self.subject.visible)} | changes
        words = " ".join(f"{key}={value}" for key, value in said.items())
        return self.judge.judge(request, f"planned {words}", path, thorough=True)

    def refused(self, request, answer, why, **changes):
        with self.assertRaisesRegex(Failure, why):
            if isinstance(answer, bytes):
                self.judged(request, answer, **changes)
            else:
                self.judge.judge(request, answer, self.folder / "answer", thorough=False)

    def pack_of(self, ids, *options):
        return run_git(self.made.path, "pack-objects", "-q", "--stdout", *options, input="\n".join(sorted(ids)))

    def reached(self, *tips):
        return self.subject.graph.closure(tips)

    def test_what_git_answers_is_right(self):
        for request in [PlanRequest([self.tip], ofs=True), PlanRequest(self.tips, ofs=True, thin=True),
                        PlanRequest([self.tip], haves=[self.old], thin=True, ofs=True),
                        PlanRequest([self.tip], filter="blob:none"), PlanRequest([self.tip], depth=2)]:
            pack, shallow, unshallow = self.subject.git_answer(request)
            verdict = self.judged(request, pack, shallow=",".join(shallow), unshallow=",".join(unshallow))
            self.assertEqual(verdict.status, "planned")

    def test_a_pack_that_lacks_an_object_is_noticed(self):
        clone = PlanRequest([self.tip], ofs=True)
        for kind in ("blob", "tree", "commit"):
            ids = sorted(n for n in self.reached(self.tip) if n != self.tip and self.subject.graph.kinds[n] == kind)
            self.refused(clone, self.pack_of(self.reached(self.tip) - {ids[0]}), "index-pack --strict")
            # Where git cannot know that something is missing, the sets tell.
            self.refused(PlanRequest([self.tip], filter="blob:limit=100000000"),
                         self.pack_of(self.reached(self.tip) - {ids[0]}), "not sent")

    def test_an_object_that_is_not_to_be_seen_is_noticed(self):
        self.refused(PlanRequest([self.tip]), self.pack_of(self.reached(self.tip) | {self.unseen[0]}), "LEAK")

    def test_an_object_that_nobody_asked_for_is_noticed(self):
        other = sorted(n for n in self.subject.visible - self.reached(self.tip) if self.subject.graph.kinds[n] == "commit")
        self.refused(PlanRequest([self.tip]), self.pack_of(self.reached(self.tip, other[0])), "nobody asked")

    def test_a_blob_more_is_counted(self):
        blobs = sorted(n for n in self.reached(self.tip) - self.reached(self.old) if self.subject.graph.kinds[n] == "blob")
        verdict = self.judged(PlanRequest([self.old]), self.pack_of(self.reached(self.old) | {blobs[0]}))
        self.assertEqual(verdict.surplus_blobs, 1)

    def test_a_base_that_the_client_does_not_have_is_noticed(self):
        have, thin = next(filter(None, map(self.thin_pack_without, sorted(self.subject.graph.parents))))
        self.judged(PlanRequest([self.tip], haves=[have], thin=True), thin)
        self.refused(PlanRequest([self.tip], haves=[have]), thin, "index-pack")
        self.refused(PlanRequest([self.tip], thin=True, filter="object:type=tag"), thin, "not known to be at the client")

    def thin_pack_without(self, have):
        """What git sends to one that has `have`, if that pack leans on it."""
        if have not in self.reached(self.tip) - {self.tip}:
            return None
        pack = self.subject.git_answer(PlanRequest([self.tip], haves=[have], thin=True))[0]
        try:
            self.subject.index(self.subject.empty, pack)
            return None
        except Failure:
            return have, pack

    def test_a_delta_by_distance_is_noticed_where_it_was_not_asked_for(self):
        pack = self.pack_of(self.reached(self.tip), "--delta-base-offset")
        self.judged(PlanRequest([self.tip], ofs=True), pack)
        self.refused(PlanRequest([self.tip]), pack, "offset delta")

    def test_wrong_counts_and_a_broken_pack_are_noticed(self):
        pack = self.pack_of(self.reached(self.tip))
        clone = PlanRequest([self.tip])
        self.refused(clone, pack, "objects, said", objects=1)
        self.refused(clone, pack, "bytes, said", bytes=1)
        self.refused(clone, pack[:-1] + bytes([pack[-1] ^ 1]), "index-pack")
        self.refused(clone, pack[:-1], "index-pack")

    def test_a_wrong_boundary_is_noticed(self):
        request = PlanRequest([self.tip], depth=2)
        pack, shallow, _ = self.subject.git_answer(request)
        self.assertTrue(shallow)
        self.refused(request, pack, "index-pack|shallow")
        self.refused(request, pack, "shallow", shallow=",".join([*shallow, self.tip]))
        self.refused(request, pack, "unshallow", shallow=",".join(shallow), unshallow=self.tip)

    def test_a_wrong_negotiation_is_noticed(self):
        more = PlanRequest([self.tip], haves=[self.old], more=True)
        meets = self.old in self.reached(self.tip)
        right = f"common={self.old} ready={int(meets)}"
        self.refused(PlanRequest([self.tip], haves=[self.old]), f"negotiating {right}", "nothing more to say")
        self.refused(more, "negotiating common= ready=0", "not common")
        self.refused(more, f"negotiating common={self.old},{self.tip} ready=0", "common")
        self.refused(more, f"negotiating common={self.old} ready={int(not meets)}", "ready")

    def test_a_tag_that_is_left_out_is_noticed(self):
        tag, peeled = next((tag, peeled) for tag, peeled in sorted(self.subject.tags.items())
                           if self.subject.graph.kinds[peeled] == "commit")
        self.refused(PlanRequest([peeled], include_tag=True), self.pack_of(self.reached(peeled)), "tags not sent")

    def test_words_that_do_not_fit_are_noticed(self):
        clone = PlanRequest([self.tip])
        for words in ("fallback corrupt", "fallback budget", "fallback layout", "fallback repository", "fallback filter",
                      "fallback shallow", "fallback negotiation", "missing", "refused", "failed x", ""):
            self.refused(clone, words, ".")
        self.judge.judge(PlanRequest([self.tip], filter="tree:0"), "fallback filter", None, thorough=False)
        self.judge.judge(PlanRequest([self.tip, "0" * 40]), "missing", None, thorough=False)


if __name__ == "__main__":
    unittest.main()
