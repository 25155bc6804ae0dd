#pragma once
// LooseBundle: a repository's loose objects, copied as they are stored into one anonymous file by
// the serving process, so that a planner needs to open none by path. Writing copies bytes and looks
// at none; reading takes them as hostile. Bounded by kLooseObjectsMax and kLooseBytesMax: beyond
// them the repository wants maintenance, and git answers. Layout, integers little-endian:
// "WEIRLSE1", u32 count, u32 0, then per object, sorted by name: 32 bytes of name, u64 offset, u64
// bytes; then the zlib streams (header and content together, gitformat-loose).

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "git/object_codec.h"
#include "git/object_id.h"
#include "git/object_type.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::uint32_t kLooseObjectsMax = 16384;
inline constexpr std::uint64_t kLooseBytesMax = 64UL * 1024 * 1024;  // of all, as stored

// One that was read from its file.
struct LooseFile {
  ObjectId id;
  std::string bytes;
};
// `files` sorted by id, without repeats.
std::string make_loose_bundle(std::span<const LooseFile> files);

class LooseBundle {
 public:
  // A view of `file`, which outlives it. Checks the whole table; the streams are checked as they
  // are read.
  static io::Result<LooseBundle> open(std::span<const std::uint8_t> file, ObjectFormat format);

  std::uint32_t count() const { return count_; }
  std::optional<std::uint32_t> find(const ObjectId& id) const;
  ObjectId id_at(std::uint32_t position) const;
  struct Head {
    ObjectType type = ObjectType::blob;
    std::uint64_t size = 0;
  };
  io::Result<Head> head_at(std::uint32_t position, Inflater& inflater) const;
  // The object's content, `Head::size` bytes (<= size_max, else Errc::limit). Its hash is not
  // checked against its name.
  io::Result<Head> read(std::uint32_t position, Inflater& inflater, std::uint64_t size_max,
                        std::string& content) const;

 private:
  std::span<const std::uint8_t> stream_at(std::uint32_t position) const;
  const std::uint8_t* row_at(std::uint32_t position) const;

  std::span<const std::uint8_t> file_;
  ObjectFormat format_ = ObjectFormat::sha1;
  std::uint32_t count_ = 0;
};

}  // namespace weir::git
