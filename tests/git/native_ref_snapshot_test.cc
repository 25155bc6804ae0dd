#include "git/native_ref_snapshot.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "git/hide_refs.h"
#include "git/pkt_line.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {
namespace {

std::string text_of(const RenderedBody& body) {
  std::string text;
  for (const RenderedBody::Part& part : body.parts()) {
    text.append(reinterpret_cast<const char*>(part.bytes.data()), part.bytes.size());
  }
  EXPECT_EQ(text.size(), body.bytes());
  return text;
}

// What a snapshot is made of, kept between rebuilds as the store does; git peels.
struct Builder {
  const ScratchRepository& scratch;
  RepositoryConfig config;
  std::shared_ptr<const PackedRefs> packed;
  FileStamp packed_stamp;
  std::shared_ptr<NativeRefSnapshot> previous;
  std::size_t peeled = 0;

  std::shared_ptr<NativeRefSnapshot> build() {
    RefSources sources;
    sources.config = std::make_shared<RepositoryConfig>(config);
    const ObjectFormat format = config.sha256 ? ObjectFormat::sha256 : ObjectFormat::sha1;
    FileStamps stamps;
    auto loose = read_loose_refs_blocking(*scratch.repository(), format, stamps);
    EXPECT_TRUE(loose);
    sources.loose = std::move(*loose);
    std::size_t line = 0;
    auto read = PackedRefs::read_blocking(scratch.path() + "/packed-refs", format, packed,
                                          packed_stamp, packed_stamp, line);
    EXPECT_TRUE(read);
    sources.packed = packed = *read;
    const std::string shallow = scratch.read("shallow");
    for (std::size_t at = 0; at < shallow.size(); at += 41) {
      sources.shallow.push_back(shallow.substr(at, 40));
    }
    const RefOverlay overlay = resolve_refs(sources);
    PeelMap peels;
    for (const ObjectId& id : overlay.unknown_ids({})) {
      const std::string hex = scratch.git("rev-parse " + id.to_hex() + "^{}");
      peels[id] = hex == id.to_hex() ? ObjectId{} : *ObjectId::from_hex(hex);
      ++peeled;
    }
    previous = NativeRefSnapshot::build(sources, overlay, peels, previous.get());
    return previous;
  }
};

const AdvertisementOptions kOptions = {"git/test", "", ""};

std::string git_ls_refs(const ScratchRepository& scratch, const LsRefsRequest& request,
                        const std::string& format = "sha1") {
  std::string body;
  append_pkt(body, "command=ls-refs\n");
  append_pkt(body, "object-format=" + format);
  append_delim(body);
  if (request.peel) append_pkt(body, "peel\n");
  if (request.symrefs) append_pkt(body, "symrefs\n");
  if (request.unborn) append_pkt(body, "unborn\n");
  for (const std::string& prefix : request.prefixes) append_pkt(body, "ref-prefix " + prefix);
  append_flush(body);
  return scratch.run("GIT_PROTOCOL=version=2 git upload-pack --stateless-rpc " + scratch.path(),
                     body);
}

// Splits an advertisement: capabilities as a set, the rest without them.
struct Advertised {
  std::set<std::string> capabilities;
  std::string refs;
  explicit Advertised(std::string text) {
    const std::size_t nul = text.find('\0');
    if (nul == std::string::npos) {
      refs = text;
      return;
    }
    const std::size_t end = text.find('\n', nul);
    std::stringstream words(text.substr(nul + 1, end - nul - 1));
    for (std::string word; words >> word;) {
      if (!word.starts_with("agent=")) capabilities.insert(word);
    }
    std::size_t first = text.rfind('\n', nul);
    first = first == std::string::npos ? 0 : first + 1;
    refs = text.substr(0, first);
    std::string line = text.substr(first, nul - first);
    line = line.substr(line.starts_with("0000") ? 8 : 4);  // lengths differ by the capabilities
    refs += line + text.substr(end);
  }
};

std::string git_advertisement(const ScratchRepository& scratch, Service service, int version) {
  const std::string command = service == Service::upload_pack ? "upload-pack" : "receive-pack";
  return scratch.run("GIT_PROTOCOL=version=" + std::to_string(version) +
                     " GIT_USER_AGENT=git/test "
                     "git " +
                     command + " --http-backend-info-refs " + scratch.path());
}

void expect_like_git(const ScratchRepository& scratch, const NativeRefSnapshot& snapshot) {
  const std::string format(format_name(snapshot.format()));
  for (unsigned options = 0; options < 8; ++options) {
    const std::vector<std::vector<std::string>> prefix_sets = {
        {},           {"refs/heads/"},    {"HEAD", "refs/heads/", "refs/tags/"},
        {"refs/t"},   {"refs/heads/a"},   {"refs/heads/", "refs/heads/a", "refs/heads/"},
        {"H", "zzz"}, {"refs/tags/v1"},   {"refs/zzz", "\xff"},
        {""},         {"refs/heads/br-1"}};
    for (const auto& prefixes : prefix_sets) {
      const LsRefsRequest request{(options & 1) != 0, (options & 2) != 0, (options & 4) != 0,
                                  prefixes};
      ASSERT_EQ(text_of(snapshot.ls_refs(request)), git_ls_refs(scratch, request, format))
          << options << " " << (prefixes.empty() ? "" : prefixes[0]);
    }
  }
  for (const Service service : {Service::upload_pack, Service::receive_pack}) {
    for (const int version : {0, 1}) {
      std::string ours = text_of(snapshot.advertisement(service, version, kOptions));
      std::string banner;
      append_pkt(banner, "# service=" + std::string(service_name(service)) + "\n");
      banner += "0000";
      ASSERT_TRUE(ours.starts_with(banner));
      const Advertised mine(ours.substr(banner.size()));
      const Advertised real(git_advertisement(scratch, service, version));
      if (real.refs.find("refs/") == std::string::npos) continue;  // tested below
      EXPECT_EQ(mine.refs, real.refs);
      EXPECT_TRUE(std::ranges::includes(mine.capabilities, real.capabilities));
    }
  }
}

TEST(NativeRefSnapshot, answers_like_git_for_loose_and_packed_refs) {
  const ScratchRepository scratch;
  Builder builder{scratch, {}, {}, {}, {}};
  expect_like_git(scratch, *builder.build());  // unborn

  const std::string one = scratch.commit("one");
  const std::string two = scratch.commit("two", one);
  scratch.git("update-ref refs/heads/main " + one);
  scratch.git("update-ref refs/heads/a/b " + two);
  scratch.git("tag -a -m x v1 " + one);
  scratch.git("tag light " + two);
  scratch.git("tag -a -m nested v1-nested v1");
  scratch.git("symbolic-ref refs/remotes/origin/HEAD refs/heads/a/b");
  scratch.git("symbolic-ref refs/remotes/origin/twice refs/remotes/origin/HEAD");
  scratch.git("symbolic-ref refs/heads/dangling refs/heads/nothing");
  expect_like_git(scratch, *builder.build());

  scratch.git("pack-refs --all");
  expect_like_git(scratch, *builder.build());
  scratch.git("update-ref refs/heads/main " + two);
  scratch.git("update-ref -d refs/heads/a/b");
  scratch.git("update-ref refs/heads/br-1 " + two);
  expect_like_git(scratch, *builder.build());
  scratch.write("HEAD", scratch.git("rev-parse v1") + "\n");  // detached, and a tag
  expect_like_git(scratch, *builder.build());
  scratch.git("symbolic-ref HEAD refs/heads/br-1");
  scratch.write("refs/heads/main", "");  // broken: hides the packed value
  EXPECT_FALSE(builder.build()->find("refs/heads/main"));
}

TEST(NativeRefSnapshot, answers_like_git_when_refs_are_hidden) {
  const ScratchRepository scratch;
  const std::string one = scratch.commit("one");
  for (const char* name : {"refs/heads/main", "refs/heads/secret", "refs/heads/secrets",
                           "refs/pull/1/head", "refs/pull/2/head", "refs/pull", "refs/tags/t"}) {
    if (std::string(name) != "refs/pull")
      scratch.git(std::string("update-ref ") + name + " " + one);
  }
  scratch.git("config --add transfer.hideRefs refs/pull");
  scratch.git("config --add transfer.hideRefs '!refs/pull/2/'");
  scratch.git("config --add uploadpack.hideRefs refs/heads/secret");
  scratch.git("config --add receive.hideRefs refs/tags");
  Builder builder{scratch, {}, {}, {}, {}};
  builder.config.hide_refs_fetch = {"refs/pull", "!refs/pull/2/", "refs/heads/secret"};
  builder.config.hide_refs_push = {"refs/pull", "!refs/pull/2/", "refs/tags"};
  const auto snapshot = builder.build();
  expect_like_git(scratch, *snapshot);
  for (std::size_t i = 0; i < snapshot->size(); ++i) {
    const Ref ref = snapshot->at(i);
    EXPECT_EQ(ref.hidden_from(Service::upload_pack),
              is_hidden(ref.name, builder.config.hide_refs_fetch));
    EXPECT_EQ(ref.hidden_from(Service::receive_pack),
              is_hidden(ref.name, builder.config.hide_refs_push));
  }
}

TEST(NativeRefSnapshot, tells_what_is_advertised_to_whom) {
  const ScratchRepository scratch;
  const std::string one = scratch.commit("one");
  const std::string two = scratch.commit("two");
  const std::string three = scratch.commit("three");
  scratch.git("update-ref refs/heads/main " + one);
  scratch.git("update-ref refs/hidden/x " + two);
  scratch.git("tag -a -m x v1 " + three);
  Builder builder{scratch, {}, {}, {}, {}};
  builder.config.hide_refs_fetch = {"refs/hidden"};
  const auto snapshot = builder.build();
  const auto shown = [&](const std::string& hex, Service service) {
    return snapshot->advertises(*ObjectId::from_hex(hex), service);
  };
  EXPECT_TRUE(shown(one, Service::upload_pack));
  EXPECT_FALSE(shown(two, Service::upload_pack));
  EXPECT_TRUE(shown(two, Service::receive_pack));
  EXPECT_TRUE(shown(three, Service::upload_pack));
  EXPECT_TRUE(shown(scratch.git("rev-parse v1"), Service::upload_pack));
  EXPECT_FALSE(shown(std::string(40, 'e'), Service::upload_pack));
  EXPECT_FALSE(shown(std::string(64, 'e'), Service::upload_pack));
}

TEST(NativeRefSnapshot, advertises_an_empty_repository_with_its_hash) {
  const ScratchRepository scratch("--object-format=sha256");
  Builder builder{scratch, {}, {}, {}, {}};
  builder.config.sha256 = true;
  const std::string text =
      text_of(builder.build()->advertisement(Service::upload_pack, 0, kOptions));
  EXPECT_NE(text.find(std::string(64, '0') + " capabilities^{}" + '\0'), std::string::npos);
  EXPECT_NE(text.find(" object-format=sha256 agent=git/test\n0000"), std::string::npos);
}

TEST(NativeRefSnapshot, answers_like_git_in_a_sha256_repository) {
  const ScratchRepository scratch("--object-format=sha256");
  const std::string one = scratch.commit("one");
  scratch.git("update-ref refs/heads/main " + one);
  scratch.git("tag -a -m x v1 " + one);
  Builder builder{scratch, {}, {}, {}, {}};
  builder.config.sha256 = true;
  expect_like_git(scratch, *builder.build());
  scratch.git("pack-refs --all");
  expect_like_git(scratch, *builder.build());
}

TEST(NativeRefSnapshot, advertises_the_shallow_boundary) {
  const ScratchRepository full;
  const std::string one = full.commit("one");
  full.git("update-ref refs/heads/main " + full.commit("two", one));
  const ScratchRepository scratch;
  scratch.git("fetch -q --depth 1 file://" + full.path() + " main:main");
  Builder builder{scratch, {}, {}, {}, {}};
  const auto snapshot = builder.build();
  EXPECT_NE(text_of(snapshot->advertisement(Service::upload_pack, 0, kOptions)).find("shallow "),
            std::string::npos);
  expect_like_git(scratch, *snapshot);
}

TEST(NativeRefSnapshot, gives_the_v2_capabilities_in_gits_order) {
  const ScratchRepository scratch;
  scratch.git("config uploadpack.allowFilter true");
  std::string real = git_advertisement(scratch, Service::upload_pack, 2);
  const std::size_t extra = real.find("0010object-info");
  ASSERT_NE(extra, std::string::npos);
  real.erase(extra, 16);  // the one git command that is not offered
  EXPECT_EQ(render_v2_capabilities({}, kOptions), real);
  RepositoryConfig config;
  config.sha256 = true;
  config.allow_filter = false;
  const std::string text = render_v2_capabilities(config, kOptions);
  EXPECT_NE(text.find("object-format=sha256\n"), std::string::npos);
  EXPECT_EQ(text.find("filter"), std::string::npos);
}

TEST(NativeRefSnapshot, keeps_its_digest_when_refs_are_packed_and_changes_it_with_them) {
  const ScratchRepository scratch;
  const std::string one = scratch.commit("one");
  const std::string two = scratch.commit("two", one);
  scratch.git("update-ref refs/heads/main " + one);
  scratch.git("update-ref refs/heads/side " + one);
  scratch.git("tag -a -m x v1 " + one);
  Builder builder{scratch, {}, {}, {}, {}};
  const std::string loose(builder.build()->digest());
  EXPECT_EQ(loose.size(), 64U);
  scratch.git("pack-refs --all");
  EXPECT_EQ(builder.build()->digest(), loose);
  std::set<std::string> seen = {loose};
  const std::string changes[] = {"symbolic-ref HEAD refs/heads/side",
                                 "symbolic-ref HEAD refs/heads/nothing", "tag -d v1",
                                 "update-ref refs/heads/side " + two, "branch -m side other"};
  for (const std::string& change : changes) {
    scratch.git(change + " >/dev/null");
    EXPECT_TRUE(seen.emplace(builder.build()->digest()).second) << change;
  }
}

class ManyRefs : public testing::Test {
 protected:
  static constexpr std::size_t kCount = 100'000;
  ManyRefs() {
    one_ = scratch_.commit("one");
    std::string packed = "# pack-refs with: peeled fully-peeled sorted \n";
    char name[64];
    for (std::size_t i = 0; i < kCount; ++i) {
      std::snprintf(name, sizeof name, "refs/heads/br-%06zu", i);
      packed += one_ + " " + name + "\n";
    }
    scratch_.write("packed-refs", packed);
  }
  ScratchRepository scratch_;
  Builder builder_{scratch_, {}, {}, {}, {}};
  std::string one_;
};

TEST_F(ManyRefs, are_answered_like_git_and_shared_across_rebuilds) {
  const auto before = builder_.build();
  ASSERT_EQ(before->size(), kCount);
  const LsRefsRequest all{true, true, false, {}};
  EXPECT_EQ(text_of(before->ls_refs(all)), git_ls_refs(scratch_, all));
  const LsRefsRequest some{true, true, false, {"refs/heads/br-0500", "refs/heads/br-09"}};
  EXPECT_EQ(text_of(before->ls_refs(some)), git_ls_refs(scratch_, some));
  EXPECT_GT(before->chunks_for_test(), kCount / 4096);

  const std::string two = scratch_.commit("two", one_);
  scratch_.git("update-ref refs/heads/br-050000 " + two);
  const auto after = builder_.build();
  EXPECT_EQ(after->chunks_shared_for_test(*before), before->chunks_for_test() - 1);
  EXPECT_EQ(text_of(after->ls_refs(all)), git_ls_refs(scratch_, all));
  EXPECT_NE(after->digest(), before->digest());

  // A chunk is a function of its refs: packing them anew shares nearly all of them.
  scratch_.git("pack-refs --all");
  const auto packed = builder_.build();
  EXPECT_EQ(packed->chunks_shared_for_test(*after), after->chunks_for_test());
  EXPECT_EQ(packed->digest(), after->digest());
  EXPECT_TRUE(packed->advertises(*ObjectId::from_hex(two), Service::upload_pack));
  EXPECT_EQ(packed->find("refs/heads/br-050000")->id.to_hex(), two);
}

TEST_F(ManyRefs, are_not_rendered_with_a_small_effort_until_somebody_has) {
  const auto snapshot = builder_.build();
  const AdvertisementOptions options{"test/1", "", ""};
  EXPECT_FALSE(snapshot->advertisement(Service::upload_pack, 0, options, Effort::small));
  const std::string whole = text_of(snapshot->advertisement(Service::upload_pack, 0, options));
  const auto small = snapshot->advertisement(Service::upload_pack, 0, options, Effort::small);
  ASSERT_TRUE(small);
  EXPECT_EQ(text_of(*small), whole);

  EXPECT_FALSE(snapshot->ls_refs({false, false, false, {}}, Effort::small));
  EXPECT_TRUE(snapshot->ls_refs({false, false, false, {"refs/heads/br-077"}}, Effort::small));
  // Of all these prefixes no chunk is whole, so that nothing would be kept.
  LsRefsRequest many{false, false, false, {}};
  for (int i = 0; i < 1000; ++i) many.prefixes.push_back("refs/heads/br-" + std::to_string(i));
  EXPECT_FALSE(snapshot->ls_refs(many, Effort::small));
}

TEST_F(ManyRefs, count_their_memory_while_anybody_keeps_them) {
  const std::size_t before = RefMemory::live_bytes();
  auto first = builder_.build();
  const std::size_t one = RefMemory::live_bytes() - before;
  EXPECT_GT(one, kCount * 60);  // the file and what is made of it
  scratch_.git("update-ref refs/heads/br-050000 " + scratch_.commit("two", one_));
  auto second = builder_.build();
  EXPECT_LT(RefMemory::live_bytes() - before, 2 * one - kCount * 50);  // what is rendered is shared
  first.reset();
  (void)second->advertisement(Service::receive_pack, 0, {"test/1", "", ""});
  EXPECT_GT(RefMemory::live_bytes() - before, one);
  second.reset();
  builder_.previous.reset();
  builder_.packed.reset();
  EXPECT_EQ(RefMemory::live_bytes(), before);
}

TEST_F(ManyRefs, answer_one_prefix_with_one_part_that_is_not_shared) {
  const RenderedBody body =
      builder_.build()->ls_refs({true, true, false, {"refs/heads/br-077777"}});
  ASSERT_EQ(body.parts().size(), 1U);
  EXPECT_EQ(text_of(body), "0042" + one_ + " refs/heads/br-077777\n0000");
}

}  // namespace
}  // namespace weir::git
