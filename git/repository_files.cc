#include "git/repository_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "git/alternates.h"
#include "git/loose_bundle.h"
#include "io/clock.h"
#include "io/memory_file.h"

namespace weir::git {
namespace {

using OpenFd = std::shared_ptr<const io::UniqueFd>;

// git changes files one after another; who keeps meeting changes takes what it has: the stamps show
// the change to the next look.
constexpr int kAttempts = 3;
constexpr int kAlternateDepthMax = 5;  // of a borrowed folder's own alternates: object-file.c
constexpr std::size_t kAlternatesBytesMax = 64UL * 1024;
constexpr std::size_t kGraphChainBytesMax = 64UL * 1024;  // ~1,000 graphs

// A folder of objects: the repository's own, or one it borrows from.
struct Store {
  std::string path;  // real
  io::UniqueFd fd;
};

// The files of one pack that are there.
struct PackEntry {
  bool pack = false, index = false, reverse_index = false, bitmap = false;
  std::string name;
  std::int64_t mtime_ns = 0;
};

struct LooseName {
  ObjectId id;
  std::uint8_t store = 0;
  friend auto operator<=>(const LooseName&, const LooseName&) = default;
};

bool beneath(std::string_view path, std::string_view folder) {
  return folder == "/" ||
         (path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/'));
}

std::optional<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(realpath(path.c_str(), nullptr), ::free);
  if (real == nullptr) return std::nullopt;
  return std::string(real.get());
}

// A FIFO that was put there is not waited for, a link not followed: git makes none.
int open_beneath(int at, const char* name, std::uint64_t flags) {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  return static_cast<int>(syscall(SYS_openat2, at, name, &how, sizeof how));
}

// Not there: an invalid descriptor. A link, or something that is no folder, is nothing we read.
io::Result<io::UniqueFd> open_folder(int at, const char* name) {
  io::UniqueFd fd(open_beneath(at, name, O_DIRECTORY));
  if (fd.valid() || errno == ENOENT) return fd;
  if (errno == ELOOP || errno == ENOTDIR) {
    return io::fail(io::Errc::invalid, "a folder of the object store is a link or no folder");
  }
  return io::fail_errno("open a folder of the object store");
}

// Errc::not_found: it is not there (any more).
io::Result<std::pair<OpenFd, FileStamp>> open_file(int at, const char* name) {
  io::UniqueFd fd(open_beneath(at, name, 0));
  struct stat status;
  if (!fd.valid() && (errno == ENOENT || errno == ENOTDIR))
    return io::fail(io::Errc::not_found, "object file");
  if (!fd.valid() && errno == ELOOP) {
    return io::fail(io::Errc::invalid, "a file of the object store is a link");
  }
  if (!fd.valid() || fstat(fd.get(), &status) != 0) return io::fail_errno("open an object file");
  if (!S_ISREG(status.st_mode)) {
    return io::fail(io::Errc::invalid, "a file of the object store is no regular file");
  }
  return std::pair{std::make_shared<const io::UniqueFd>(std::move(fd)), FileStamp::of(status)};
}

bool read_exactly(int fd, std::span<char> into, std::uint64_t offset) {
  while (!into.empty()) {
    const ssize_t n = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    into = into.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return true;
}

// A small text file; not there: "".
io::Result<std::string> read_text(int at, const char* name, std::size_t bytes_max) {
  const auto opened = open_file(at, name);
  if (!opened && opened.error().code == io::Errc::not_found) return std::string();
  if (!opened) return std::unexpected(opened.error());
  const auto bytes = static_cast<std::uint64_t>(opened->second.bytes);
  if (bytes > bytes_max) return io::fail(io::Errc::limit, "a list of the object store is too long");
  std::string text(bytes, '\0');
  if (!read_exactly(opened->first->get(), text, 0)) {
    return io::fail(io::Errc::not_found, "a list of the object store changed");
  }
  return text;
}

// Calls `entry` with each name; stops at its first error.
template <typename Entry>
io::Result<void> list(int folder, Entry entry) {
  const int again = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (again < 0) return io::fail_errno("list a folder of the object store");
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(fdopendir(again), closedir);
  while (const dirent* found = readdir(dir.get())) {
    if (auto taken = entry(std::string_view(found->d_name)); !taken) return taken;
  }
  return {};
}

}  // namespace

// One look at a repository.
class RepositoryFilesReader {
 public:
  RepositoryFilesReader(const Repository& repository, ObjectFormat format,
                        const RepositoryFiles* previous, std::span<const std::string> roots)
      : repository_(repository),
        format_(format),
        previous_(previous),
        roots_(roots),
        made_(std::make_shared<RepositoryFiles>()) {
    made_->stamps_ = FileStamps(io::SystemClock().unix_ns());
    if (previous == nullptr) return;
    for (std::size_t i = 0; i < previous->files_.size(); ++i) {
      known_.emplace(previous->file_stamps_[i].inode, i);
    }
  }

  // Errc::not_found: something went away in the meantime.
  io::Result<void> read();
  bool unchanged() const { return made_->stamps_.unchanged(); }
  std::shared_ptr<RepositoryFiles> finish();

 private:
  io::Result<void> find_stores();
  io::Result<void> add_alternates(std::size_t store, int depth);
  io::Result<void> refuse_incomplete();
  io::Result<void> list_loose(std::size_t store);
  io::Result<void> read_loose();
  io::Result<std::string> loose_content(const LooseName& name);
  io::Result<void> add_packs(std::size_t store);
  io::Result<void> add_multi_pack_index(int folder, RepositoryFile file);
  io::Result<void> add_commit_graph(std::size_t store);
  io::Result<void> add(int folder, const std::string& name, RepositoryFile file);
  // Not being there is fine.
  io::Result<void> add_if_there(int folder, const std::string& name, RepositoryFile file);
  void stamp(const std::string& path) {
    made_->stamps_.add(path, FileStamp::of_path(path.c_str(), false));
  }

  const Repository& repository_;
  const ObjectFormat format_;
  const RepositoryFiles* const previous_;
  const std::span<const std::string> roots_;
  std::shared_ptr<RepositoryFiles> made_;
  std::unordered_multimap<std::uint64_t, std::size_t> known_;  // of `previous_`, by inode
  std::vector<Store> stores_;
  std::vector<LooseName> loose_names_;
  OpenFd loose_file_;  // null: no loose objects
};

io::Result<void> RepositoryFilesReader::read() {
  if (auto found = find_stores(); !found) return found;
  if (auto whole = refuse_incomplete(); !whole) return whole;
  // Loose objects first: git packs them before it removes them.
  for (std::size_t i = 0; i < stores_.size(); ++i) {
    if (auto listed = list_loose(i); !listed) return listed;
  }
  if (auto loose = read_loose(); !loose) return loose;
  for (std::size_t i = 0; i < stores_.size(); ++i) {
    if (auto packs = add_packs(i); !packs) return packs;
  }
  for (std::size_t i = 0; i < stores_.size(); ++i) {
    if (auto graph = add_commit_graph(i); !graph) return graph;
  }
  if (loose_file_ == nullptr) return {};
  const auto& last = made_->loose_.back();
  made_->files_.push_back(
      {.role = FileRole::loose_objects, .name = "", .bytes = last.offset + last.bytes});
  made_->fds_.push_back(loose_file_);
  made_->file_stamps_.push_back({});
  return {};
}

io::Result<void> RepositoryFilesReader::find_stores() {
  const std::string named = repository_.common_dir + "/objects";
  std::optional<std::string> real = real_path(named);
  if (!real) return io::fail_errno("find the object store");
  if (*real != named &&
      std::ranges::none_of(roots_, [&](const auto& root) { return beneath(*real, root); })) {
    return io::fail(io::Errc::denied, "the object store is outside of the root");
  }
  io::UniqueFd fd(::open(real->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return io::fail_errno("open the object store");
  stores_.push_back({std::move(*real), std::move(fd)});
  return add_alternates(0, 0);
}

io::Result<void> RepositoryFilesReader::add_alternates(std::size_t store, int depth) {
  const std::string base = stores_[store].path;
  stamp(base + "/info/alternates");
  const auto text = read_text(stores_[store].fd.get(), "info/alternates", kAlternatesBytesMax);
  if (!text) return std::unexpected(text.error());
  if (depth > kAlternateDepthMax) return {};
  for (const std::string& path : parse_alternates(*text)) {
    std::optional<std::string> real = real_path(path.starts_with('/') ? path : base + "/" + path);
    if (!real) continue;  // git passes over it, too
    if (std::ranges::find(stores_, *real, &Store::path) != stores_.end()) continue;
    if (std::ranges::none_of(roots_, [&](const auto& root) { return beneath(*real, root); })) {
      return io::fail(io::Errc::denied, "an alternate is outside of the root");
    }
    io::UniqueFd fd(::open(real->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid() && (errno == ENOENT || errno == ENOTDIR)) continue;
    if (!fd.valid()) return io::fail_errno("open an alternate");
    if (stores_.size() > kAlternatesMax) return io::fail(io::Errc::limit, "too many alternates");
    stores_.push_back({std::move(*real), std::move(fd)});
    if (auto more = add_alternates(stores_.size() - 1, depth + 1); !more) return more;
  }
  return {};
}

io::Result<void> RepositoryFilesReader::refuse_incomplete() {
  const std::string shallow = repository_.common_dir + "/shallow";
  const std::string grafts = repository_.common_dir + "/info/grafts";
  stamp(shallow);
  stamp(grafts);
  if (::access(shallow.c_str(), F_OK) == 0) {
    return io::fail(io::Errc::invalid, "the repository is shallow");
  }
  if (::access(grafts.c_str(), F_OK) == 0) {
    return io::fail(io::Errc::invalid, "the repository has grafts");
  }
  return {};
}

io::Result<void> RepositoryFilesReader::list_loose(std::size_t store) {
  const Store& from = stores_[store];
  stamp(from.path);
  std::vector<std::string> fan_out;
  const auto fan_out_folder = [&](std::string_view name) -> io::Result<void> {
    constexpr std::string_view kDigits = "0123456789abcdef";
    if (name.size() == 2 && name.find_first_not_of(kDigits) == name.npos) {
      fan_out.emplace_back(name);
    }
    return {};
  };
  if (auto listed = list(from.fd.get(), fan_out_folder); !listed) return listed;
  for (const std::string& folder : fan_out) {
    stamp(from.path + "/" + folder);
    const auto fd = open_folder(from.fd.get(), folder.c_str());
    if (!fd) return std::unexpected(fd.error());
    if (!fd->valid()) continue;
    const auto object = [&](std::string_view name) -> io::Result<void> {
      const std::string hex = folder + std::string(name);
      const auto id = ObjectId::from_hex(hex);
      if (!id || id->bytes != hash_bytes(format_) || id->to_hex() != hex) return {};
      if (loose_names_.size() == kLooseObjectsMax) {
        return io::fail(io::Errc::limit, "too many loose objects");
      }
      loose_names_.push_back({*id, static_cast<std::uint8_t>(store)});
      return {};
    };
    if (auto listed = list(fd->get(), object); !listed) return listed;
  }
  return {};
}

// Errc::not_found: packed in the meantime.
io::Result<std::string> RepositoryFilesReader::loose_content(const LooseName& name) {
  if (previous_ != nullptr) {
    const auto entry =
        std::ranges::lower_bound(previous_->loose_, name.id, {}, &RepositoryFiles::LooseEntry::id);
    if (entry != previous_->loose_.end() && entry->id == name.id) {
      std::string content(entry->bytes, '\0');
      if (read_exactly(previous_->fds_.back()->get(), content, entry->offset)) return content;
    }
  }
  const std::string hex = name.id.to_hex();
  const std::string path = hex.substr(0, 2) + "/" + hex.substr(2);
  const auto opened = open_file(stores_[name.store].fd.get(), path.c_str());
  if (!opened) return std::unexpected(opened.error());
  const auto bytes = static_cast<std::uint64_t>(opened->second.bytes);
  if (bytes > kLooseBytesMax) return io::fail(io::Errc::limit, "too many bytes of loose objects");
  std::string content(bytes, '\0');
  if (!read_exactly(opened->first->get(), content, 0)) {
    return io::fail(io::Errc::corrupt, "a loose object changed while it was read");
  }
  return content;
}

io::Result<void> RepositoryFilesReader::read_loose() {
  std::ranges::sort(loose_names_);
  const auto repeated = std::ranges::unique(loose_names_, {}, &LooseName::id);
  loose_names_.erase(repeated.begin(), repeated.end());
  if (previous_ != nullptr && !loose_names_.empty() &&
      std::ranges::equal(loose_names_, previous_->loose_, {}, &LooseName::id,
                         &RepositoryFiles::LooseEntry::id)) {
    made_->loose_ = previous_->loose_;
    loose_file_ = previous_->fds_.back();
    return {};
  }
  std::vector<LooseFile> files;
  files.reserve(loose_names_.size());
  std::uint64_t bytes = 0;
  for (const LooseName& name : loose_names_) {
    auto content = loose_content(name);
    if (!content && content.error().code == io::Errc::not_found) continue;
    if (!content) return std::unexpected(content.error());
    bytes += content->size();
    if (bytes > kLooseBytesMax) {
      return io::fail(io::Errc::limit, "too many bytes of loose objects");
    }
    files.push_back({name.id, std::move(*content)});
  }
  if (files.empty()) return {};
  const std::string bundle = make_loose_bundle(files);
  std::uint64_t offset = bundle.size() - bytes;
  for (const LooseFile& file : files) {
    made_->loose_.push_back({file.id, offset, file.bytes.size()});
    offset += file.bytes.size();
  }
  auto file = io::make_sealed_memory_file("weir-loose", bundle);
  if (!file) return std::unexpected(file.error());
  loose_file_ = std::make_shared<const io::UniqueFd>(std::move(*file));
  return {};
}

io::Result<void> RepositoryFilesReader::add(int folder, const std::string& name,
                                            RepositoryFile file) {
  struct stat status;
  OpenFd fd;
  FileStamp stamp;
  if (previous_ != nullptr && fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
    const auto [first, last] = known_.equal_range(status.st_ino);
    for (auto known = first; known != last && fd == nullptr; ++known) {
      stamp = previous_->file_stamps_[known->second];
      if (stamp == FileStamp::of(status)) fd = previous_->fds_[known->second];
    }
  }
  if (fd == nullptr) {
    auto opened = open_file(folder, name.c_str());
    if (!opened) return std::unexpected(opened.error());
    std::tie(fd, stamp) = std::move(*opened);
  }
  if (made_->files_.size() == kRepositoryFilesMax) {
    return io::fail(io::Errc::limit, "too many packs");
  }
  file.bytes = static_cast<std::uint64_t>(stamp.bytes);
  made_->files_.push_back(std::move(file));
  made_->fds_.push_back(std::move(fd));
  made_->file_stamps_.push_back(stamp);
  return {};
}

io::Result<void> RepositoryFilesReader::add_if_there(int folder, const std::string& name,
                                                     RepositoryFile file) {
  auto added = add(folder, name, std::move(file));
  if (!added && added.error().code == io::Errc::not_found) return {};
  return added;
}

io::Result<void> RepositoryFilesReader::add_packs(std::size_t store) {
  stamp(stores_[store].path + "/pack");
  const auto folder = open_folder(stores_[store].fd.get(), "pack");
  if (!folder) return std::unexpected(folder.error());
  if (!folder->valid()) return {};
  std::map<std::string, PackEntry, std::less<>> found;
  const auto note = [&](std::string_view name) -> io::Result<void> {
    const std::size_t dot = name.rfind('.');
    if (!name.starts_with("pack-") || dot == name.npos) return {};
    const std::string_view stem = name.substr(0, dot), suffix = name.substr(dot);
    const auto hash = ObjectId::from_hex(stem.substr(5));
    if (!hash || hash->bytes != hash_bytes(format_)) return {};
    if (suffix == ".promisor") {
      return io::fail(io::Errc::invalid, "the repository is a partial clone");
    }
    PackEntry& entry = found[std::string(stem)];
    if (suffix == ".pack") entry.pack = true;
    if (suffix == ".idx") entry.index = true;
    if (suffix == ".rev") entry.reverse_index = true;
    if (suffix == ".bitmap") entry.bitmap = true;
    if (found.size() > kRepositoryFilesMax) return io::fail(io::Errc::limit, "too many packs");
    return {};
  };
  if (auto listed = list(folder->get(), note); !listed) return listed;

  std::vector<PackEntry> packs;
  for (auto& [name, entry] : found) {
    struct stat status;
    if (!entry.pack || !entry.index) continue;  // the index comes last and goes first
    if (fstatat(folder->get(), (name + ".pack").c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return io::fail(io::Errc::not_found, "a pack went away");
    }
    entry.name = name;
    entry.mtime_ns = FileStamp::of(status).mtime_ns;
    packs.push_back(std::move(entry));
  }
  // By seconds, as a multi-pack-index prefers copies.
  std::ranges::sort(packs, {}, [](const PackEntry& entry) {
    return std::tuple<bool, std::int64_t, const std::string&>(
        !entry.bitmap, -(entry.mtime_ns / 1'000'000'000), entry.name);
  });
  RepositoryFile file;
  file.store = static_cast<std::uint8_t>(store);
  for (const PackEntry& entry : packs) {
    file.name = entry.name;
    const auto of_role = [&](FileRole role) {
      file.role = role;
      return file;
    };
    if (auto added = add(folder->get(), entry.name + ".pack", of_role(FileRole::pack)); !added)
      return added;
    if (auto added = add(folder->get(), entry.name + ".idx", of_role(FileRole::pack_index)); !added)
      return added;
    const std::pair<bool, std::pair<const char*, FileRole>> beside[] = {
        {entry.reverse_index, {".rev", FileRole::pack_reverse_index}},
        {entry.bitmap, {".bitmap", FileRole::pack_bitmap}}};
    for (const auto& [there, what] : beside) {
      if (!there) continue;
      auto added = add_if_there(folder->get(), entry.name + what.first, of_role(what.second));
      if (!added) return added;
    }
  }
  file.name.clear();
  return add_multi_pack_index(folder->get(), std::move(file));
}

io::Result<void> RepositoryFilesReader::add_multi_pack_index(int folder, RepositoryFile file) {
  const std::size_t before = made_->files_.size();
  file.role = FileRole::multi_pack_index;
  if (auto added = add_if_there(folder, "multi-pack-index", file); !added) return added;
  if (made_->files_.size() == before) return {};
  // What belongs to it is named by the checksum it ends with.
  ObjectId checksum;
  checksum.bytes = static_cast<std::uint8_t>(hash_bytes(format_));
  const auto bytes = static_cast<std::uint64_t>(made_->file_stamps_.back().bytes);
  const std::span<char> into(reinterpret_cast<char*>(checksum.hash.data()), checksum.bytes);
  if (bytes < checksum.bytes ||
      !read_exactly(made_->fds_.back()->get(), into, bytes - checksum.bytes)) {
    return {};
  }
  const std::string stem = "multi-pack-index-" + checksum.to_hex();
  file.role = FileRole::multi_pack_reverse_index;
  if (auto added = add_if_there(folder, stem + ".rev", file); !added) return added;
  file.role = FileRole::multi_pack_bitmap;
  return add_if_there(folder, stem + ".bitmap", file);
}

// The parts of a chain may lie in any store; they are of the one whose chain it is.
io::Result<void> RepositoryFilesReader::add_commit_graph(std::size_t store) {
  const Store& of = stores_[store];
  const std::size_t before = made_->files_.size();
  RepositoryFile file{
      .role = FileRole::commit_graph, .store = static_cast<std::uint8_t>(store), .name = ""};
  stamp(of.path + "/info");
  if (auto added = add_if_there(of.fd.get(), "info/commit-graph", file); !added) return added;
  if (made_->files_.size() > before) return {};
  stamp(of.path + "/info/commit-graphs");
  const auto chain =
      read_text(of.fd.get(), "info/commit-graphs/commit-graph-chain", kGraphChainBytesMax);
  if (!chain) return std::unexpected(chain.error());
  std::string_view rest = *chain;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const auto hash = ObjectId::from_hex(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!hash || hash->bytes != hash_bytes(format_)) return {};
    const std::string name = "info/commit-graphs/graph-" + hash->to_hex() + ".graph";
    const std::size_t parts = made_->files_.size();
    for (std::size_t at = 0; at < stores_.size() && made_->files_.size() == parts; ++at) {
      if (auto added = add_if_there(stores_[at].fd.get(), name, file); !added) return added;
    }
    if (made_->files_.size() == parts) return {};  // what stands on it is of no use
    ++file.order;
  }
  return {};
}

std::shared_ptr<RepositoryFiles> RepositoryFilesReader::finish() {
  static std::atomic<std::uint64_t> last_number = 0;
  for (const RepositoryFile& file : made_->files_) made_->sizes_.push_back(file.bytes);
  made_->number_ = previous_ != nullptr && made_->fds_ == previous_->fds_
                       ? previous_->number_
                       : last_number.fetch_add(1, std::memory_order_relaxed) + 1;
  return std::move(made_);
}

io::Result<std::shared_ptr<const RepositoryFiles>> RepositoryFiles::open(
    const Repository& repository, ObjectFormat format,
    std::shared_ptr<const RepositoryFiles> previous, std::span<const std::string> roots) {
  for (int attempt = 1;; ++attempt) {
    RepositoryFilesReader reader(repository, format, previous.get(), roots);
    const auto read = reader.read();
    if (!read && read.error().code != io::Errc::not_found) return std::unexpected(read.error());
    if (read && (attempt == kAttempts || reader.unchanged())) return reader.finish();
    if (attempt == kAttempts) {
      return io::fail(io::Errc::unavailable, "object files kept changing");
    }
  }
}

bool RepositoryFiles::still_current() const {
  return !stamps_.racy() && stamps_.unchanged();
}

}  // namespace weir::git
