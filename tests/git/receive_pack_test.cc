#include "tests/git/service_fixture.h"

namespace weir::git {
namespace {

using std::string_literals::operator""s;

const std::string kCapabilities =
    "\0 report-status-v2 side-band-64k object-format=sha1 "
    "agent=git/2.39.5"s;

class ReceivePackTest : public ServiceTest {
 protected:
  ReceivePackTest() {
    base = repository.commit("base");
    repository.git("update-ref refs/heads/main " + base);
    // What the client has made: the objects come from a second repository.
    repository.run("git clone -q --bare " + repository.path() + " " + source());
    next = commit_in_source("next");
  }
  std::string source() const { return repository.folder() + "/source.git"; }
  std::string commit_in_source(const std::string& message) const {
    std::string id = repository.run("git -C " + source() + " commit-tree " + base + "^{tree} -p " +
                                    base + " -m '" + message + "'");
    id.pop_back();
    return id;
  }
  std::string pack(const std::string& tip) const {
    return repository.run("git -C " + source() + " pack-objects --revs --stdout -q --thin",
                          tip + "\n^" + base + "\n");
  }
  std::string update(const std::string& old_id, const std::string& new_id, const std::string& ref,
                     const std::string& capabilities = kCapabilities) const {
    return old_id + " " + new_id + " " + ref + capabilities;
  }
  std::string push_next(const std::string& ref = "refs/heads/main") const {
    const std::string old_id = ref == "refs/heads/main" ? base : kZeroId;
    return pkts({update(old_id, next, ref), "0000"}) + pack(next);
  }
  std::string value(const std::string& ref) const {
    return repository.run("git -C " + repository.path() + " rev-parse -q --verify " + ref +
                          " || true");
  }
  bool has(const std::string& text, const std::string& part) const {
    return text.find(part) != text.npos;
  }
  bool clean() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(repository.path())) {
      const std::string name = entry.path().filename();
      if (name.ends_with(".lock") || name.starts_with("tmp_objdir")) return false;
    }
    return std::filesystem::is_empty(repository.folder() + "/state/pushes");
  }

  std::string base, next;
};

TEST_F(ReceivePackTest, a_push_is_durable_and_visible_when_it_is_acknowledged) {
  int syncs_at_report = -1;
  answer.on_write = [&](const std::string& text) {
    if (syncs_at_report < 0 && has(text, "unpack ok")) syncs_at_report = syncs;
  };
  const Unpacked answered = unpack(push(push_next()), true);
  EXPECT_EQ(answered.bands[1], pkts({"unpack ok\n", "ok refs/heads/main\n", "0000"}));
  EXPECT_TRUE(answered.flushed);
  EXPECT_EQ(syncs_at_report, 1);
  EXPECT_EQ(value("refs/heads/main"), next + "\n");
  EXPECT_EQ(snapshot()->find("refs/heads/main")->id.to_hex(), next);
  EXPECT_EQ(outcome.ended, Ended::completed);
  EXPECT_EQ(outcome.operation, "push");
  EXPECT_TRUE(clean());
  repository.git("fsck --strict");
}

TEST_F(ReceivePackTest, a_push_may_come_in_single_bytes) {
  body.piece_bytes = 1;
  EXPECT_TRUE(has(push(push_next("refs/heads/new")), "ok refs/heads/new"));
}

TEST_F(ReceivePackTest, probes_start_nothing) {
  environment.git_path = "/nonexistent";
  for (const std::string& request : {""s, "0000"s}) {
    body.at = 0;
    EXPECT_EQ(push(request), "");
    EXPECT_EQ(outcome.operation, "probe");
  }
}

TEST_F(ReceivePackTest, deletes_need_no_pack) {
  repository.git("update-ref refs/heads/old " + base);
  EXPECT_TRUE(
      has(push(pkts({update(base, kZeroId, "refs/heads/old"), "0000"})), "ok refs/heads/old"));
  EXPECT_EQ(value("refs/heads/old"), "");
}

TEST_F(ReceivePackTest, hooks_speak_and_refuse) {
  hook("pre-receive",
       "echo \"options: $GIT_PUSH_OPTION_0\" >&2; echo \"user: $REMOTE_USER\" >&2\n");
  hook("update", "echo 'not this one' >&2; exit 1\n");
  const std::string request =
      pkts({update(base, next, "refs/heads/main", kCapabilities + " push-options"), "0000",
            "ci.skip", "0000"}) +
      pack(next);
  const Unpacked answered = unpack(push(request), true);
  EXPECT_TRUE(has(answered.bands[2], "options: ci.skip")) << answered.bands[2];
  EXPECT_TRUE(has(answered.bands[2], "user: ann"));
  EXPECT_TRUE(has(answered.bands[2], "not this one"));
  EXPECT_TRUE(has(answered.bands[1], "ng refs/heads/main hook declined"));
  EXPECT_EQ(syncs, 1);  // git's locks are gone for good before the record of the push goes
  EXPECT_EQ(outcome.ended, Ended::refused);
  EXPECT_EQ(outcome.detail, "refs/heads/main: hook declined");
}

TEST_F(ReceivePackTest, the_report_does_not_wait_for_post_receive) {
  const std::string door = gate();
  hook("post-receive", "read x < " + door + "; echo deployed >&2\n");
  answer.on_write = [&](const std::string& text) {
    if (has(text, "unpack ok") && !has(text, "deployed")) open_gate(door);
  };
  const Unpacked answered = unpack(push(push_next()), true);
  EXPECT_TRUE(has(answered.bands[1], "ok refs/heads/main"));
  EXPECT_TRUE(has(answered.bands[2], "deployed"));
  EXPECT_TRUE(answered.flushed);
}

TEST_F(ReceivePackTest, without_a_sideband_there_is_only_the_report) {
  EXPECT_EQ(
      push(pkts({update(base, next, "refs/heads/main", "\0 report-status"s), "0000"}) + pack(next)),
      pkts({"unpack ok\n", "ok refs/heads/main\n", "0000"}));
  EXPECT_EQ(syncs, 1);
}

TEST_F(ReceivePackTest, a_client_without_reports_is_still_served_durably) {
  EXPECT_EQ(push(pkts({update(base, next, "refs/heads/main", ""), "0000"}) + pack(next)), "");
  EXPECT_EQ(outcome.ended, Ended::completed);
  EXPECT_EQ(syncs, 1);
  EXPECT_EQ(value("refs/heads/main"), next + "\n");
}

TEST_F(ReceivePackTest, a_failed_sync_is_never_acknowledged) {
  sync_error = EIO;
  const Unpacked answered = unpack(push(push_next()), true);
  EXPECT_FALSE(has(answer.text, "unpack ok"));
  EXPECT_TRUE(has(answered.bands[1], "ng refs/heads/main result unknown"));
  EXPECT_TRUE(has(answered.bands[2], "fetch before you push again (request r1)"));
  EXPECT_EQ(outcome.ended, Ended::failed);
}

TEST_F(ReceivePackTest, bad_pushes_are_refused_in_gits_form_after_the_upload) {
  repository.git("config receive.advertisePushOptions false");
  for (const auto& [request, reason] : std::vector<std::pair<std::string, std::string>>{
           {pkts({update(base, next, "refs/heads/../../x"), "0000"}), "a ref name is not allowed"},
           {pkts({update(base, next, "HEAD"), "0000"}), "a ref name is not allowed"},
           {pkts({update(base, next, "refs/heads/a", kCapabilities + " push-options"), "0000", "x",
                  "0000"}),
            "push options are switched off"},
           {pkts({update(base, next, "refs/heads/a"), "hello", "0000"}), "a command is not"},
           {pkts({update(base, next, "refs/heads/a")}), "the push is cut short"},
       }) {
    body.at = 0;
    answer.text.clear();
    const std::string padding(200'000, 'p');
    const bool cut_short = has(reason, "cut short");
    const Unpacked answered = unpack(push(cut_short ? request : request + padding), true);
    EXPECT_TRUE(has(answered.bands[2], reason)) << answer.text;
    EXPECT_TRUE(has(answered.bands[2], "(request r1)"));
    EXPECT_TRUE(has(answered.bands[1], "unpack weir: "));
    EXPECT_TRUE(answered.flushed);
    EXPECT_EQ(body.at, body.text.size());
    EXPECT_EQ(outcome.ended, Ended::refused);
  }
  EXPECT_TRUE(clean());
}

TEST_F(ReceivePackTest, a_push_beyond_the_size_is_refused_and_leaves_nothing) {
  environment.limits.push_bytes_max = 100'000;
  const Unpacked answered = unpack(push(push_next() + std::string(400'000, 'x')), true);
  EXPECT_TRUE(has(answered.bands[2], "larger than the 100000 bytes allowed"));
  EXPECT_TRUE(has(answered.bands[1], "ng refs/heads/main not done"));
  EXPECT_EQ(outcome.ended, Ended::refused);
  EXPECT_EQ(value("refs/heads/main"), base + "\n");
  EXPECT_TRUE(clean());
}

TEST_F(ReceivePackTest, a_full_house_is_said) {
  std::optional<io::Result<ProcessSlots::Slot>> taken =
      test.run(push_slots.acquire({}, io::Deadline::never()));
  const Unpacked answered = unpack(push(push_next()), true);
  EXPECT_TRUE(has(answered.bands[2], "too many pushes are waiting"));
  taken.reset();
}

TEST_F(ReceivePackTest, a_client_that_leaves_within_its_upload_changes_nothing) {
  const std::string whole = push_next();
  body.then_error = io::Errc::closed;
  push(whole.substr(0, whole.size() - 10));
  EXPECT_EQ(outcome.ended, Ended::client_gone);
  EXPECT_EQ(value("refs/heads/main"), base + "\n");
  EXPECT_TRUE(clean());
}

TEST_F(ReceivePackTest, a_push_is_finished_though_its_client_left) {
  hook("pre-receive", "echo checking >&2\n");
  answer.on_write = [this](const std::string& text) {
    if (has(text, "checking")) stop.request_stop();
  };
  push(push_next());
  EXPECT_EQ(outcome.ended, Ended::client_gone);
  EXPECT_EQ(value("refs/heads/main"), next + "\n");
  EXPECT_EQ(syncs, 1);
  EXPECT_TRUE(clean());
}

TEST_F(ReceivePackTest, a_child_that_is_killed_leaves_no_lock_and_the_next_push_succeeds) {
  hook("reference-transaction", "[ \"$1\" = prepared ] && kill -9 $PPID; exit 0\n");
  const Unpacked answered = unpack(push(push_next()), true);
  EXPECT_TRUE(has(answered.bands[2], "the result of this push is unknown"));
  EXPECT_TRUE(has(answered.bands[1], "ng refs/heads/main result unknown"));
  EXPECT_EQ(outcome.ended, Ended::failed);
  EXPECT_TRUE(clean());
  std::filesystem::remove(repository.path() + "/hooks/reference-transaction");
  body.at = 0;
  answer.text.clear();
  EXPECT_TRUE(has(push(push_next()), "ok refs/heads/main"));
}

TEST_F(ReceivePackTest, a_hook_has_its_time_though_it_never_falls_silent) {
  hook("pre-receive", "while echo still busy; do sleep 0.02; done\n");
  environment.limits.push_time_max = std::chrono::milliseconds(300);
  const Unpacked answered = unpack(push(push_next()), true);
  EXPECT_TRUE(has(answered.bands[2], "still busy"));
  EXPECT_TRUE(has(answered.bands[1], "ng refs/heads/main"));
  EXPECT_EQ(outcome.ended, Ended::failed);
  EXPECT_EQ(outcome.detail, "took longer than allowed");
  EXPECT_EQ(value("refs/heads/main"), base + "\n");
  EXPECT_TRUE(clean());
}

TEST_F(ReceivePackTest, a_child_that_ends_well_without_its_report_has_failed) {
  const std::string lock = repository.path() + "/refs/heads/main.lock";
  use_script("cat > /dev/null; : > " + lock + "; printf '0031\\001000eunpack ok'; exit 0");
  const std::string said = push(push_next());
  EXPECT_TRUE(has(said, "ng refs/heads/main result unknown")) << said;
  EXPECT_EQ(outcome.ended, Ended::failed);
  EXPECT_FALSE(std::filesystem::exists(lock));
}

TEST_F(ReceivePackTest, a_broken_pack_is_reported_by_git) {
  std::string request = push_next();
  request[request.size() - 1] = static_cast<char>(request.back() ^ 1);
  const Unpacked answered = unpack(push(request), true);
  EXPECT_TRUE(has(answered.bands[1], "ng refs/heads/main unpacker error")) << answer.text;
  EXPECT_EQ(value("refs/heads/main"), base + "\n");
  EXPECT_TRUE(clean());
}

TEST_F(ReceivePackTest, a_push_that_git_gives_up_early_is_still_read_to_its_end) {
  use_script(
      "head -c 100 > /dev/null; exec 0<&-; printf '0031\\001000eunpack no\\n"
      "001ang refs/heads/main no\\n00000000'; exit 0");
  body.text = push_next() + std::string(3'000'000, 'x');
  const std::string said = run(Service::receive_pack, 0);
  EXPECT_TRUE(has(said, "unpack no")) << said;
  EXPECT_EQ(body.at, body.text.size());
}

}  // namespace
}  // namespace weir::git
