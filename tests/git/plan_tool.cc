// plan_tool: plans fetches of a repository on disk and writes the packs, for
// tests/e2e/plan_oracle.py and by hand. Opens files as the serving process does, plans as a planner
// does, in one process.
//
// usage: plan_tool GIT_DIR TIPS_FILE [sha1|sha256] < REQUESTS
// TIPS_FILE: lines "<hex>" (a visible tip) or "tag <hex> <peeled hex>". A request is one line of
// words:
//   want HEX | have HEX | shallow HEX | depth N | filter SPEC | thin | ofs | include-tag |
//   more (haves will come) | level N | out PATH
// Answers, one line each: "planned objects=N bytes=N extra=N reencoded=N pieces=N recipe_bytes=N
// cpu_us=N shallow=HEX,... unshallow=HEX,...", "negotiating", "fallback REASON", "missing" or
// "failed TEXT"; with haves, or without a pack, then "common=HEX,... ready=0|1".

#include <sys/resource.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "git/repository_files.h"
#include "git/repository_view.h"
#include "tests/git/recipe_pack.h"

namespace weir::git {
namespace {

[[noreturn]] void end_with(const std::string& text) {
  std::cerr << "plan_tool: " << text << '\n';
  std::exit(2);
}

ObjectId id_of(const std::string& hex) {
  const std::optional<ObjectId> id = ObjectId::from_hex(hex);
  if (!id) end_with("no object id: " + hex);
  return *id;
}

std::uint64_t cpu_us() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& t) {
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(t.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

VisibleTips read_tips(const char* path) {
  VisibleTips visible{.digest = "all", .tips = {}, .tags = {}};
  std::ifstream file(path);
  std::string word, peeled;
  while (file >> word) {
    if (word == "tag") {
      file >> word >> peeled;
      visible.tags.emplace_back(id_of(word), id_of(peeled));
    } else {
      visible.tips.push_back(id_of(word));
    }
  }
  return visible;
}

void read_filter(const std::string& spec, ObjectFilter& filter) {
  const auto number = [&spec](std::size_t from) { return std::stoull(spec.substr(from)); };
  if (spec == "blob:none") {
    filter.no_blobs = true;
  } else if (spec.starts_with("blob:limit=")) {
    filter.blob_bytes_limit = number(11);
  } else if (spec.starts_with("tree:")) {
    filter.tree_depth_limit = number(5);
  } else if (spec.starts_with("object:type=")) {
    for (const ObjectType type :
         {ObjectType::commit, ObjectType::tree, ObjectType::blob, ObjectType::tag}) {
      if (spec.substr(12) == type_name(type)) {
        filter.types |= static_cast<std::uint8_t>(1U << static_cast<unsigned>(type));
      }
    }
  } else {
    end_with("no filter: " + spec);
  }
}

void append(std::ostream& text, const std::vector<ObjectId>& ids) {
  for (std::size_t i = 0; i < ids.size(); ++i) text << (i == 0 ? "" : ",") << ids[i].to_hex();
}

std::string answer(RepositoryView& view, const RepositoryFiles& files, const VisibleTips& visible,
                   const std::string& line) {
  PlanRequest request;
  std::string out, word, value;
  std::istringstream words(line);
  while (words >> word) {
    if (word == "thin") {
      request.thin_pack = true;
    } else if (word == "ofs") {
      request.ofs_delta = true;
    } else if (word == "more") {
      request.done = false;
    } else if (word == "include-tag") {
      request.include_tag = true;
    } else if (!(words >> value)) {
      end_with("no value: " + line);
    } else if (word == "want") {
      request.wants.push_back(id_of(value));
    } else if (word == "have") {
      request.haves.push_back(id_of(value));
    } else if (word == "shallow") {
      request.shallows.push_back(id_of(value));
    } else if (word == "depth") {
      request.depth = static_cast<std::uint32_t>(std::stoul(value));
    } else if (word == "filter") {
      read_filter(value, request.filter);
    } else if (word == "level") {
      request.level = static_cast<PlanLevel>(std::stoul(value));
    } else if (word == "out") {
      out = value;
    } else {
      end_with("no such word: " + word);
    }
  }
  const std::uint64_t before_us = cpu_us();
  const PlanReply reply = view.plan(request, visible);
  const std::uint64_t spent_us = cpu_us() - before_us;
  std::ostringstream text;
  switch (reply.status) {
    case PlanStatus::planned: {
      if (!out.empty()) std::ofstream(out, std::ios::binary) << pack_of(reply.recipe, files);
      const RecipeCounts& counts = reply.recipe.counts();
      text << "planned objects=" << counts.objects << " bytes=" << reply.recipe.pack_bytes()
           << " extra=" << counts.extra << " reencoded=" << counts.reencoded
           << " pieces=" << reply.recipe.pieces() << " recipe_bytes=" << reply.recipe.memory_bytes()
           << " cpu_us=" << spent_us << " shallow=";
      append(text, reply.shallow);
      text << " unshallow=";
      append(text, reply.unshallow);
      break;
    }
    case PlanStatus::negotiating:
      text << "negotiating";
      break;
    case PlanStatus::fallback:
      text << "fallback " << reason_name(reply.reason);
      break;
    case PlanStatus::missing:
      text << "missing";
      break;
    case PlanStatus::failed:
      text << "failed " << reply.problem;
      break;
  }
  if (reply.status != PlanStatus::planned || !reply.common.empty()) {
    text << " common=";
    append(text, reply.common);
    text << " ready=" << reply.ready;
  }
  if (!reply.problem.empty()) std::cerr << reply.problem << '\n';
  return text.str();
}

int run(int argc, char** argv) {
  if (argc < 3) end_with("usage: plan_tool GIT_DIR TIPS_FILE [sha1|sha256] < REQUESTS");
  const ObjectFormat format =
      argc > 3 && std::string(argv[3]) == "sha256" ? ObjectFormat::sha256 : ObjectFormat::sha1;
  Repository repository;
  repository.git_dir = repository.common_dir = std::filesystem::canonical(argv[1]);
  const std::vector<std::string> roots{"/"};
  const io::Result<std::shared_ptr<const RepositoryFiles>> files =
      RepositoryFiles::open(repository, format, nullptr, roots);
  std::string line;
  if (!files) {
    while (std::getline(std::cin, line)) std::cout << "fallback repository" << std::endl;
    return 0;
  }
  io::Result<std::unique_ptr<RepositoryView>> view = view_of(**files, format);
  if (!view) end_with("opening failed: " + io::to_string(view.error()));
  const VisibleTips visible = read_tips(argv[2]);
  while (std::getline(std::cin, line)) {
    std::cout << answer(**view, **files, visible, line) << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace weir::git

int main(int argc, char** argv) {
  return weir::git::run(argc, argv);
}
