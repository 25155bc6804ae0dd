// packed-refs of any content: parsed or refused, and what was parsed can be looked up.

#include <cstdint>
#include <string>

#include "git/native_ref_snapshot.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  std::size_t line = 0;
  auto refs = git::PackedRefs::parse(std::string(reinterpret_cast<const char*>(data), bytes),
                                     git::ObjectFormat::sha1, line);
  if (!refs) {
    WEIR_CHECK(line > 0);
    return 0;
  }
  git::RefSources sources;
  sources.config = std::make_shared<git::RepositoryConfig>();
  sources.packed = *refs;
  const git::RefOverlay overlay = git::resolve_refs(sources);
  const auto snapshot = git::NativeRefSnapshot::build(sources, overlay, {}, nullptr);
  WEIR_CHECK(snapshot->size() == (*refs)->size());
  std::string previous;
  for (std::size_t i = 0; i < snapshot->size(); ++i) {
    const git::Ref ref = snapshot->at(i);
    WEIR_CHECK(previous < ref.name);
    WEIR_CHECK(snapshot->find(ref.name)->id == ref.id);
    WEIR_CHECK(snapshot->advertises(ref.id, git::Service::upload_pack));
    previous = ref.name;
  }
  snapshot->ls_refs({true, true, true, {"refs/heads/"}});
  snapshot->advertisement(git::Service::upload_pack, 0, {});
  return 0;
}
