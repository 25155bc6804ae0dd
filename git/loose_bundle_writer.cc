#include "git/loose_bundle.h"

namespace weir::git {
namespace {

constexpr std::size_t kNameBytes = 32;
constexpr std::size_t kEntryBytes = kNameBytes + 16;

void append_number(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

std::string make_loose_bundle(std::span<const LooseFile> files) {
  std::uint64_t bytes = 16 + files.size() * kEntryBytes;
  std::uint64_t offset = bytes;
  for (const LooseFile& file : files) bytes += file.bytes.size();
  std::string bundle = "WEIRLSE1";
  bundle.reserve(bytes);
  append_number(bundle, files.size(), 4);
  append_number(bundle, 0, 4);
  for (const LooseFile& file : files) {
    bundle.append(reinterpret_cast<const char*>(file.id.hash.data()), kNameBytes);
    append_number(bundle, offset, 8);
    append_number(bundle, file.bytes.size(), 8);
    offset += file.bytes.size();
  }
  for (const LooseFile& file : files) bundle += file.bytes;
  return bundle;
}

}  // namespace weir::git
