#pragma once
// PackedRefs: the packed-refs file, indexed. Immutable; shared by successive snapshots while the
// file stays the same. Keeps the bytes as read (hex lower-cased) plus 4 bytes a ref; no allocation
// per ref. The file is read, not mapped: a foreign truncation of a mapped file would kill the
// process. Bounded by kPackedRefsBytesMax. Malformed bytes: Errc::corrupt and the line's number;
// lines with a bad name are skipped and counted, as git does. Format: git's packed-backend.c,
// gitrepository-layout(5).

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "git/file_stamps.h"
#include "git/object_id.h"
#include "git/ref_memory.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::size_t kPackedRefsBytesMax = 512UL * 1024 * 1024;  // ~7 million refs

// One ref as a line, the form in which all refs are kept:
//   <hex id> SP <name> LF [ "@" <symref target> LF ] [ "^" <hex peeled id> LF ]
// (the middle part never comes from a file: it is how overlays note symbolic refs).
struct RefLine {
  std::string_view hex;
  std::string_view name;
  std::string_view target;      // "" unless symbolic
  std::string_view peeled_hex;  // "" unless an annotated tag
  std::string_view whole;       // all of it

  // `line` is in memory that ends in a NUL or further lines.
  static RefLine at(const char* line, std::size_t hex_bytes);
};
inline std::string_view ref_line_name(const char* line, std::size_t hex_bytes) {
  const char* name = line + hex_bytes + 1;
  return {name, static_cast<std::size_t>(static_cast<const char*>(rawmemchr(name, '\n')) - name)};
}

// True for about one name in 512; a chunk of the sorted refs begins at such a name. Depends on the
// name alone, so equal sets of refs have equal chunks wherever they are stored.
bool begins_chunk(std::string_view name);

class PackedRefs {
 public:
  // `line`: set to the number of the offending line when the result is Errc::corrupt.
  static io::Result<std::shared_ptr<const PackedRefs>> parse(std::string bytes, ObjectFormat format,
                                                             std::size_t& line);
  // Reads <common_dir>/packed-refs; a missing file is an empty set. `stamp` describes what was
  // read. `same` is returned if it was read under that very stamp and can be trusted.
  static io::Result<std::shared_ptr<const PackedRefs>> read_blocking(
      const std::string& path, ObjectFormat format, const std::shared_ptr<const PackedRefs>& same,
      FileStamp same_stamp, FileStamp& stamp, std::size_t& line);

  std::size_t size() const { return offsets_.size(); }
  std::size_t hex_bytes() const { return 2 * hash_bytes(format_); }
  ObjectFormat format() const { return format_; }
  const char* line(std::size_t index) const { return bytes_.data() + offsets_[index]; }
  std::string_view name(std::size_t index) const { return ref_line_name(line(index), hex_bytes()); }
  RefLine at(std::size_t index) const { return RefLine::at(line(index), hex_bytes()); }
  // Index of the first name that is not less.
  std::size_t lower_bound(std::string_view name) const;
  // Indices whose peeled value the file does not tell, ascending.
  const std::vector<std::uint32_t>& unpeeled() const { return unpeeled_; }
  // Indices whose names begin a chunk, ascending.
  const std::vector<std::uint32_t>& chunk_starts() const { return chunk_starts_; }
  std::size_t skipped() const { return skipped_; }
  std::size_t bytes() const {
    return bytes_.size() + 4 * (offsets_.size() + unpeeled_.size() + chunk_starts_.size());
  }

 private:
  PackedRefs(std::string bytes, ObjectFormat format) : bytes_(std::move(bytes)), format_(format) {}
  io::Result<void> index(std::size_t& line);
  void sort();

  std::string bytes_;
  const ObjectFormat format_;
  std::vector<std::uint32_t> offsets_;
  std::vector<std::uint32_t> unpeeled_;
  std::vector<std::uint32_t> chunk_starts_;
  std::size_t skipped_ = 0;
  RefMemory memory_;
  bool racy_ = false;
};

}  // namespace weir::git
