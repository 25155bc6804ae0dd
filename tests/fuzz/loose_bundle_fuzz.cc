// A bundle of loose objects of any bytes, behind one that chooses the hash; and any bytes as the
// stream of the one object of a bundle.

#include <cstdint>
#include <span>
#include <string>

#include "git/loose_bundle.h"
#include "io/check.h"

namespace git = weir::git;

namespace {

constexpr std::uint64_t kSizeMax = 1 << 20;

void ask(const git::LooseBundle& bundle, git::Inflater& inflater) {
  for (std::uint32_t position = 0; position < bundle.count(); ++position) {
    WEIR_CHECK(bundle.find(bundle.id_at(position)) == position);
    std::string content;
    const auto head = bundle.head_at(position, inflater);
    const auto read = bundle.read(position, inflater, kSizeMax, content);
    if (!read) continue;
    WEIR_CHECK(head && head->type == read->type && head->size == read->size);
    WEIR_CHECK(content.size() == head->size && head->size <= kSizeMax);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes == 0) return 0;
  const auto format = (data[0] & 1) != 0 ? git::ObjectFormat::sha256 : git::ObjectFormat::sha1;
  git::Inflater inflater;
  const auto bundle = git::LooseBundle::open({data + 1, bytes - 1}, format);
  if (bundle) ask(*bundle, inflater);

  git::LooseFile file;
  file.id.bytes = 20;
  file.bytes.assign(reinterpret_cast<const char*>(data + 1), bytes - 1);
  const std::string made = git::make_loose_bundle({&file, 1});
  const auto opened = git::LooseBundle::open(
      {reinterpret_cast<const std::uint8_t*>(made.data()), made.size()}, git::ObjectFormat::sha1);
  WEIR_CHECK(opened && opened->count() == 1);
  ask(*opened, inflater);
  return 0;
}
