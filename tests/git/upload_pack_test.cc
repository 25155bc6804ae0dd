#include <chrono>

#include "git/pkt_relay.h"
#include "io/process_identity.h"
#include "tests/git/service_fixture.h"

namespace weir::git {
namespace {

using std::string_literals::operator""s;

class UploadPackTest : public ServiceTest {
 protected:
  UploadPackTest() {
    first = repository.commit("first");
    second = repository.commit("second", first);
    repository.git("update-ref refs/heads/main " + second);
    hidden = repository.commit("hidden");
    repository.git("update-ref refs/internal/x " + hidden);
    repository.git("config transfer.hideRefs refs/internal");
    lost = repository.commit("reachable from nowhere");
  }
  std::string clone_v2(const std::string& want) {
    return pkts({"command=fetch", "agent=git/2.39.5", "object-format=sha1", "0001", "thin-pack",
                 "ofs-delta", "want " + want, "done", "0000"});
  }
  // Objects of a pack that git itself finds sound.
  std::string objects_of(const std::string& pack) {
    const std::string target = repository.folder() + "/clone.git";
    repository.run("git init -q --bare " + target);
    repository.run("git -C " + target + " index-pack --strict --stdin", pack);
    return repository.run("git -C " + target + " cat-file --batch-all-objects --batch-check");
  }
  bool has(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
  }

  std::string first, second, hidden, lost;
};

TEST_F(UploadPackTest, a_v2_clone_is_a_sound_pack_of_what_is_reachable) {
  const Unpacked answered = unpack(fetch(clone_v2(second)));
  EXPECT_TRUE(answered.whole && answered.flushed);
  EXPECT_EQ(answer.announced, std::nullopt);  // nobody knows how long it will be
  const std::string objects = objects_of(answered.bands[1]);
  EXPECT_TRUE(has(objects, first) && has(objects, second));
  EXPECT_FALSE(has(objects, hidden) || has(objects, lost));
  EXPECT_EQ(outcome.ended, Ended::completed);
  EXPECT_EQ(outcome.operation, "clone");
  EXPECT_FALSE(outcome.cut);
  EXPECT_GT(outcome.child_rss_bytes_max, 0U);
}

TEST_F(UploadPackTest, a_v0_clone_works_with_and_without_sideband) {
  const Unpacked answered =
      unpack(fetch(pkts({"want " + second + " side-band-64k ofs-delta\n", "0000", "done\n"}), 0));
  EXPECT_EQ(answered.sections, std::vector<std::string>{"NAK"});
  EXPECT_TRUE(answered.flushed);
  EXPECT_TRUE(has(objects_of(answered.bands[1]), first));
  answer.text.clear();
  body.at = 0;
  const std::string plain = fetch(pkts({"want " + second + "\n", "0000", "done\n"}), 0);
  EXPECT_TRUE(plain.starts_with("0008NAK\nPACK"));
  EXPECT_EQ(outcome.ended, Ended::completed);
}

TEST_F(UploadPackTest, a_fetch_knows_what_the_client_has) {
  const Unpacked answered =
      unpack(fetch(pkts({"command=fetch", "0001", "thin-pack", "ofs-delta", "want " + second,
                         "have " + first, "done", "0000"})));
  EXPECT_EQ(outcome.operation, "fetch");
  EXPECT_FALSE(has(answered.bands[1], first));
  EXPECT_TRUE(answered.flushed);
}

TEST_F(UploadPackTest, a_shallow_clone_says_where_it_ends) {
  const Unpacked answered =
      unpack(fetch(pkts({"command=fetch", "0001", "want " + second, "deepen 1", "done", "0000"})));
  EXPECT_EQ(outcome.operation, "fetch-shallow");
  EXPECT_EQ(answered.sections,
            (std::vector<std::string>{"shallow-info", "shallow " + second, "packfile"}));
}

TEST_F(UploadPackTest, probes_and_empty_bodies_start_nothing) {
  for (const std::string& request : {""s, "0000"s}) {
    body.at = 0;
    EXPECT_EQ(fetch(request), "");
    EXPECT_EQ(outcome.operation, "probe");
    EXPECT_EQ(outcome.ended, Ended::completed);
    EXPECT_EQ(outcome.child_cpu_us, 0U);
  }
}

TEST_F(UploadPackTest, ls_refs_is_answered_natively) {
  environment.git_path = "/nonexistent";
  EXPECT_EQ(fetch(pkts({"command=ls-refs", "0001", "ref-prefix refs/heads/", "0000"})),
            pkts({second + " refs/heads/main\n", "0000"}));
  EXPECT_EQ(outcome.operation, "ls-refs");
  EXPECT_EQ(answer.announced, answer.text.size());
}

TEST_F(UploadPackTest, what_was_not_advertised_must_be_reachable) {
  EXPECT_TRUE(unpack(fetch(clone_v2(first))).flushed);  // a parent: reachable
  for (const std::string& want : {hidden, lost, std::string(40, '1')}) {
    for (const int version : {0, 2}) {
      body.at = 0;
      answer.text.clear();
      const std::string request =
          version == 2 ? clone_v2(want) : pkts({"want " + want + " side-band-64k", "0000", "done"});
      EXPECT_EQ(fetch(request, version),
                pkts({"ERR weir: upload-pack: not our ref " + want + " (request r1)"}));
      EXPECT_EQ(outcome.ended, Ended::refused);
    }
  }
}

TEST_F(UploadPackTest, what_is_hidden_from_now_on_is_not_reachable_any_more_though_no_ref_moved) {
  repository.git("config --unset transfer.hideRefs");
  repository.git("update-ref refs/internal/x " + repository.commit("its child", hidden));
  EXPECT_TRUE(unpack(fetch(clone_v2(hidden))).flushed);
  repository.git("config transfer.hideRefs refs/internal");
  body.at = 0;
  answer.text.clear();
  fetch(clone_v2(hidden));
  EXPECT_EQ(outcome.ended, Ended::refused);
}

TEST_F(UploadPackTest, is_refused_while_other_requests_hold_all_memory) {
  hold_at_most(100);
  EXPECT_EQ(fetch(clone_v2(second)),
            pkts({"ERR weir: the server is busy; try again in a minute (request r1)"}));
  EXPECT_EQ(outcome.ended, Ended::refused);
  EXPECT_EQ(requests_held->held(), 0U);
}

TEST_F(UploadPackTest, bad_requests_are_refused_with_a_reason) {
  repository.git("config uploadpack.allowFilter false");
  for (const auto& [request, reason] : std::vector<std::pair<std::string, std::string>>{
           {pkts({"command=push", "0000"}), "unknown command"},
           {"0009x", "the request is cut short"},
           {pkts({"command=fetch", "0001", "want x", "0000"}), "a want line is not"},
           {pkts({"command=fetch", "object-format=sha256", "0000"}), "mismatched object format"},
           {pkts({"command=fetch", "0001", "want-ref refs/heads/main", "0000"}), "not offered"},
           {pkts({"command=fetch", "0001", "want " + second, "filter blob:none", "0000"}),
            "filters are switched off"},
       }) {
    body.at = 0;
    answer.text.clear();
    const std::string said = fetch(request);
    EXPECT_TRUE(has(said, "ERR weir: ") && has(said, reason) && has(said, "(request r1)")) << said;
    EXPECT_EQ(outcome.ended, Ended::refused);
    EXPECT_FALSE(outcome.cut);
  }
}

TEST_F(UploadPackTest, a_body_beyond_the_limit_is_refused) {
  environment.limits.fetch_request_bytes_max = 1000;
  EXPECT_TRUE(has(fetch(std::string(2000, '0')), "larger than 1000 bytes"));
}

TEST_F(UploadPackTest, a_child_that_dies_in_the_pack_is_told_and_never_ends_with_a_flush) {
  use_script("printf '000dpackfile\\n'; printf '0009\\001PACK'; exit 128");
  const Unpacked answered = unpack(fetch(clone_v2(second)));
  EXPECT_TRUE(has(answered.bands[3], "could not finish this answer; try again (request r1)"));
  EXPECT_FALSE(answered.flushed);
  EXPECT_FALSE(outcome.cut);  // a reset could overtake the message
  EXPECT_EQ(outcome.ended, Ended::failed);
}

TEST_F(UploadPackTest, a_child_that_dies_within_a_packet_leaves_a_cut_stream) {
  use_script("printf '000dpackfile\\n'; printf '0100\\001PACK'; kill -9 $$");
  EXPECT_FALSE(unpack(fetch(clone_v2(second))).whole);
  EXPECT_TRUE(outcome.cut);
}

TEST_F(UploadPackTest, a_bad_exit_after_the_last_flush_is_no_clean_end) {
  use_script("printf '000dpackfile\\n'; printf '0009\\001PACK0000'; exit 1");
  const Unpacked answered = unpack(fetch(clone_v2(second)));
  EXPECT_TRUE(has(answered.bands[3], "could not finish this answer"));
  EXPECT_FALSE(answered.flushed);
}

TEST_F(UploadPackTest, a_child_that_dies_before_it_speaks_is_an_error_answer) {
  use_script("echo 'fatal: no such luck' >&2; exit 128");
  EXPECT_TRUE(has(fetch(clone_v2(second)), "ERR weir: "));
  EXPECT_FALSE(outcome.cut);  // whole in itself
  EXPECT_EQ(outcome.ended, Ended::failed);
  EXPECT_TRUE(has(outcome.detail, "exit 128: fatal: no such luck")) << outcome.detail;
}

TEST_F(UploadPackTest, a_refusal_of_git_itself_ends_cleanly) {
  use_script("printf '000bERR bad'; exit 128");
  EXPECT_EQ(fetch(clone_v2(second)), "000bERR bad");
  EXPECT_FALSE(outcome.cut);
  EXPECT_EQ(outcome.ended, Ended::refused);
}

TEST_F(UploadPackTest, a_silent_child_is_bridged_with_keepalives) {
  const std::string door = gate();
  use_script("printf '000dpackfile\\n'; read x < " + door + "; printf '0009\\001PACK0000'");
  environment.limits.keepalive = std::chrono::milliseconds(5);
  answer.on_write = [door](const std::string& text) {
    if (text.ends_with(kKeepalive)) open_gate(door);
  };
  const Unpacked answered = unpack(fetch(clone_v2(second)));
  EXPECT_GE(answered.keepalives, 1U);
  EXPECT_EQ(answered.bands[1], "PACK");
  EXPECT_EQ(outcome.ended, Ended::completed);
}

TEST_F(UploadPackTest, a_child_that_falls_silent_for_good_is_ended) {
  use_script("printf '000dpackfile\\n'; exec sleep 1000");
  environment.limits.keepalive = std::chrono::milliseconds(5);
  environment.limits.fetch_silence_max = std::chrono::milliseconds(20);
  const Unpacked answered = unpack(fetch(clone_v2(second)));
  EXPECT_NE(answered.bands[3].find("could not finish"), std::string::npos);
  EXPECT_EQ(outcome.ended, Ended::failed);
  EXPECT_NE(outcome.detail.find("silence"), std::string::npos) << outcome.detail;
  EXPECT_EQ(fetch_slots.in_use(), 0);
}

TEST_F(UploadPackTest, a_client_that_leaves_ends_the_child_and_frees_the_slot) {
  use_script("echo $$ > " + repository.folder() +
             "/pid; printf '000dpackfile\\n'; "
             "sleep 1000 & wait");
  body.text = clone_v2(second);
  answer.on_write = [this](const std::string&) { stop.request_stop(); };
  const io::Instant began = test.clock.now();
  run(Service::upload_pack, 2);
  EXPECT_LT(test.clock.now() - began, std::chrono::seconds(10));
  EXPECT_EQ(outcome.ended, Ended::client_gone);
  EXPECT_EQ(fetch_slots.in_use(), 0);
  pid_t pid = 0;
  std::ifstream(repository.folder() + "/pid") >> pid;
  ASSERT_GT(pid, 1);
  EXPECT_EQ(io::process_start_ticks(pid), 0U);  // reaped
}

TEST_F(UploadPackTest, a_sink_that_fails_ends_the_child) {
  use_script("printf '000dpackfile\\n'; exec yes 000bxxxxxx");
  answer.bytes_max = 1'000'000;
  fetch(clone_v2(second));
  EXPECT_EQ(outcome.ended, Ended::client_gone);
}

TEST_F(UploadPackTest, small_writes_of_a_child_are_gathered) {
  use_script(
      "printf '000dpackfile\\n'; i=0; while [ $i -lt 2000 ]; do printf '0006\\001x'; "
      "i=$((i+1)); done; printf 0000");
  const Unpacked answered = unpack(fetch(clone_v2(second)));
  EXPECT_EQ(answered.bands[1].size(), 2000U);
  EXPECT_TRUE(answered.flushed);
  EXPECT_LT(answer.writes, 500U);
}

TEST_F(UploadPackTest, output_that_is_not_gits_is_never_ended_cleanly) {
  use_script("printf '000dpackfile\\n'; sleep 0.01; echo 'Segmentation fault'; sleep 1000");
  fetch(clone_v2(second));
  EXPECT_EQ(outcome.ended, Ended::failed);
  EXPECT_FALSE(has(answer.text, "Segmentation"));
}

}  // namespace
}  // namespace weir::git
