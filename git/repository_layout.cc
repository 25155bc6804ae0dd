#include "git/repository_layout.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>

#include "git/alternates.h"
#include "io/durable_file.h"

namespace weir::git {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSmallFileBytesMax = 64 * 1024;
constexpr std::uint64_t kLooseRefsCountedMax = 100'000;
constexpr int kRefFoldersDeepMax = 32;

struct File {
  std::uint64_t bytes = 0;
  std::int64_t changed_unix_ns = 0;
};

std::optional<File> look(const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return File{static_cast<std::uint64_t>(status.st_size),
              status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
}

std::string read_small_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kSmallFileBytesMax, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

std::int64_t age_s(std::int64_t changed_unix_ns, std::int64_t now_unix_s) {
  return std::max<std::int64_t>(0, now_unix_s - changed_unix_ns / 1'000'000'000);
}

// One pack of objects/pack, from the names that begin with "pack-<hash>".
struct PackFiles {
  std::uint64_t bytes = 0;
  std::uint64_t objects = 0;
  std::int64_t indexed_unix_ns = 0;  // when it came: git touches packs themselves later
  bool has_pack = false, has_index = false, kept = false, cruft = false, bitmap = false;
  std::int64_t bitmap_unix_ns = 0;
};

// Of an index, version 2: a header, 256 counts, for each object its name, CRC and offset, and two
// checksums. Packs beyond 2 GiB have some larger offsets: a little too many are counted.
std::uint64_t indexed_objects(std::uint64_t index_bytes, std::uint64_t hash_bytes) {
  const std::uint64_t fixed = 8 + 256 * 4 + 2 * hash_bytes;
  return index_bytes <= fixed ? 0 : (index_bytes - fixed) / (hash_bytes + 8);
}

bool is_temporary(std::string_view name) {
  return name.starts_with("tmp_") || name.starts_with(".tmp-");
}

// For each pack by its name ("pack-<hash>"). False: the folder cannot be read.
bool read_packs(const fs::path& folder, std::map<std::string, PackFiles>& packs,
                RepositoryLayout& layout) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (is_temporary(name)) layout.temporary_files.push_back(name);
    const std::size_t dot = name.find('.');
    if (!name.starts_with("pack-") || dot == name.npos) continue;
    const std::optional<File> file = look(entry->path());
    if (!file) continue;
    PackFiles& pack = packs[name.substr(0, dot)];
    const std::string_view kind = std::string_view(name).substr(dot);
    pack.bytes += file->bytes;
    if (kind == ".pack") pack.has_pack = true;
    if (kind == ".keep") pack.kept = true;
    if (kind == ".mtimes") pack.cruft = true;
    if (kind == ".promisor") layout.partial = true;
    if (kind == ".bitmap") {
      pack.bitmap = true;
      pack.bitmap_unix_ns = file->changed_unix_ns;
    }
    if (kind == ".idx") {
      pack.has_index = true;
      pack.indexed_unix_ns = file->changed_unix_ns;
      pack.objects = indexed_objects(file->bytes, dot - 5 >= 64 ? 32 : 20);
    }
  }
  std::erase_if(
      packs, [](const auto& entry) { return !entry.second.has_pack || !entry.second.has_index; });
  return !error || error == std::errc::no_such_file_or_directory;
}

// The bitmap of all packs, if their index has one.
std::optional<File> multi_pack_bitmap(const fs::path& folder) {
  std::optional<File> newest;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with("multi-pack-index-") || !name.ends_with(".bitmap")) continue;
    const std::optional<File> file = look(entry->path());
    if (file && (!newest || newest->changed_unix_ns < file->changed_unix_ns)) newest = file;
  }
  return newest;
}

std::uint64_t count_loose_objects(const fs::path& objects) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::uint64_t count = 0;
  for (int fan = 0; fan < 256 && count < kLooseObjectsCountedMax; ++fan) {
    const std::string name = {kDigits[static_cast<std::size_t>(fan) / 16],
                              kDigits[static_cast<std::size_t>(fan) % 16]};
    std::error_code error;
    for (fs::directory_iterator entry(objects / name, error), end; !error && entry != end;
         entry.increment(error)) {
      if (!is_temporary(entry->path().filename().string())) ++count;
    }
  }
  return count;
}

std::uint64_t count_loose_refs(const fs::path& folder, int deep) {
  std::uint64_t count = 0;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end;
       !error && entry != end && count < kLooseRefsCountedMax; entry.increment(error)) {
    std::error_code unknown;
    const bool is_folder = entry->is_directory(unknown) && !entry->is_symlink(unknown);
    if (!is_folder) ++count;
    if (is_folder && deep < kRefFoldersDeepMax) count += count_loose_refs(*entry, deep + 1);
  }
  return count;
}

std::string head_branch(const fs::path& common_dir) {
  constexpr std::string_view kSymbolic = "ref: ";
  std::string text = read_small_file(common_dir / "HEAD");
  while (text.ends_with('\n') || text.ends_with(' ')) text.pop_back();
  return text.starts_with(kSymbolic) ? text.substr(kSymbolic.size()) : "";
}

fs::path core_note(const std::string& common_dir) {
  return fs::path(common_dir) / "objects/info/weir-core";
}

void read_core_note(const std::string& common_dir, const std::map<std::string, PackFiles>& packs,
                    std::int64_t now_unix_s, RepositoryLayout& layout) {
  const std::optional<File> note = look(core_note(common_dir));
  const std::string text = note ? read_small_file(core_note(common_dir)) : "";
  const std::size_t line = text.find('\n');
  if (line == text.npos) return;
  const auto pack = packs.find(text.substr(0, line));
  if (pack == packs.end()) return;
  layout.core_present = true;
  layout.core_objects = pack->second.objects;
  layout.core_age_s = age_s(note->changed_unix_ns, now_unix_s);
  layout.core_branch_is_head = text.substr(line + 1) == layout.head_branch + "\n";
}

}  // namespace

io::Result<RepositoryLayout> read_repository_layout(const Repository& repository,
                                                    std::int64_t now_unix_s) {
  const fs::path common(repository.common_dir);
  const fs::path objects = common / "objects";
  const fs::path folder = objects / "pack";
  if (!look(objects)) return io::fail_errno("read folder of objects");

  RepositoryLayout layout;
  std::map<std::string, PackFiles> packs;
  if (!read_packs(folder, packs, layout)) {
    return io::fail(io::Errc::unavailable, "read folder of packs");
  }
  layout.head_branch = head_branch(common);
  layout.loose_objects = count_loose_objects(objects);
  layout.loose_refs = count_loose_refs(common / "refs", 0);
  if (const auto packed = look(common / "packed-refs")) layout.packed_refs_bytes = packed->bytes;
  layout.borrows = !borrowed_folders(repository.common_dir).empty();
  layout.shallow = look(common / "shallow").has_value();
  layout.server_info = look(objects / "info/packs").has_value();

  const std::optional<File> index = look(folder / "multi-pack-index");
  layout.multi_pack_index = index.has_value();
  std::optional<File> bitmap = index ? multi_pack_bitmap(folder) : std::nullopt;
  if (bitmap) layout.bitmap = BitmapKind::multi_pack;

  std::optional<File> graph = look(objects / "info/commit-graphs/commit-graph-chain");
  if (!graph) graph = look(objects / "info/commit-graph");
  layout.commit_graph = graph.has_value();

  std::uint64_t largest = 0;
  for (const auto& [name, pack] : packs) {
    if (pack.cruft) {
      layout.cruft_objects += pack.objects;
      layout.cruft_bytes += pack.bytes;
      layout.cruft_age_s = std::max(layout.cruft_age_s, age_s(pack.indexed_unix_ns, now_unix_s));
      continue;
    }
    ++layout.packs;
    layout.pack_bytes += pack.bytes;
    layout.packed_objects += pack.objects;
    if (pack.kept) ++layout.kept_packs;
    if (pack.objects >= largest) {
      largest = pack.objects;
      layout.largest_pack = name;
    }
    if (graph && pack.indexed_unix_ns > graph->changed_unix_ns) layout.commit_graph_behind = true;
    const bool known = layout.bitmap == BitmapKind::multi_pack
                           ? pack.indexed_unix_ns <= index->changed_unix_ns
                           : pack.bitmap;
    if (!known) ++layout.recent_packs;
    if (known) layout.bitmapped_objects += pack.objects;
    if (pack.bitmap && layout.bitmap != BitmapKind::multi_pack) {
      layout.bitmap = BitmapKind::pack;
      bitmap = File{0, pack.bitmap_unix_ns};
    }
  }
  if (bitmap) layout.bitmap_age_s = age_s(bitmap->changed_unix_ns, now_unix_s);
  read_core_note(repository.common_dir, packs, now_unix_s, layout);
  return layout;
}

io::Result<void> write_core_note(const Repository& repository, const std::string& pack,
                                 const std::string& branch) {
  return io::write_durably(core_note(repository.common_dir).string(), pack + "\n" + branch + "\n");
}

std::vector<std::string> borrowed_folders(const std::string& common_dir) {
  const fs::path objects = fs::path(common_dir) / "objects";
  std::vector<std::string> folders;
  for (const std::string& path : parse_alternates(read_small_file(objects / "info/alternates"))) {
    folders.push_back((objects / path).lexically_normal().string());
  }
  return folders;
}

}  // namespace weir::git
