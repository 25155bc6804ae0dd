// Commits, tags and trees of any content: read or refused. The first byte says which of them, and
// the hash format; what was read lies within the input.

#include <cstdint>
#include <span>

#include "git/object_text.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes == 0) return 0;
  const auto format = (*data & 4) == 0 ? git::ObjectFormat::sha1 : git::ObjectFormat::sha256;
  const std::size_t hash_bytes = git::hash_bytes(format);
  const std::span<const std::uint8_t> text(data + 1, bytes - 1);
  switch (*data & 3) {
    case 0: {
      git::CommitText commit;
      if (!git::parse_commit(text, format, commit)) return 0;
      WEIR_CHECK(commit.tree.bytes == hash_bytes);
      WEIR_CHECK(commit.parents.size() * (2 * hash_bytes + 8) < text.size());
      for (const git::ObjectId& parent : commit.parents) WEIR_CHECK(parent.bytes == hash_bytes);
      return 0;
    }
    case 1: {
      const auto tag = git::parse_tag(text, format);
      WEIR_CHECK(!tag || (tag->target.bytes == hash_bytes && !type_name(tag->type).empty()));
      return 0;
    }
    default: {
      git::TreeReader reader(text, format);
      git::TreeEntry entry;
      const std::uint8_t* end = text.data();
      while (reader.next(entry)) {
        const auto* const name = reinterpret_cast<const std::uint8_t*>(entry.name.data());
        WEIR_CHECK(name > end && !entry.name.empty());
        WEIR_CHECK(entry.hash == name + entry.name.size() + 1);
        end = entry.hash + hash_bytes;
        WEIR_CHECK(end <= text.data() + text.size());
      }
      WEIR_CHECK(reader.malformed() || end == text.data() + text.size());
      WEIR_CHECK(!reader.next(entry));
      return 0;
    }
  }
}
