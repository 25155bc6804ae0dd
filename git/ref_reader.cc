#include "git/ref_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "io/check.h"
#include "io/unique_fd.h"

namespace weir::git {
namespace {

// git changes refs one file after another; a reader that keeps meeting changes takes what it has,
// as git's own readers do. The stamps show the change to the next validation.
constexpr int kReadAttempts = 3;

ObjectFormat format_of(const RepositoryConfig& config) {
  return config.sha256 ? ObjectFormat::sha256 : ObjectFormat::sha1;
}

io::Result<std::string> read_shallow(const std::string& path, FileStamps& stamps) {
  const io::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status;
  std::string content;
  if (!fd.valid() && errno != ENOENT) return io::fail_errno("open shallow file");
  if (!fd.valid()) {
    stamps.add(path, FileStamp::of_path(path.c_str(), true), true);
    return content;
  }
  if (fstat(fd.get(), &status) != 0) return io::fail_errno("stat shallow file");
  stamps.add(path, FileStamp::of(status), true);
  content.resize(kShallowBytesMax);
  const ssize_t bytes =
      S_ISREG(status.st_mode) ? ::read(fd.get(), content.data(), content.size()) : 0;
  if (bytes < 0) return io::fail_errno("read shallow file");
  content.resize(static_cast<std::size_t>(bytes));
  return content;
}

}  // namespace

std::vector<std::string> parse_shallow(std::string_view content, ObjectFormat format) {
  std::vector<std::string> ids;
  while (!content.empty()) {
    const std::size_t end = std::min(content.find('\n'), content.size());
    const auto id = ObjectId::from_hex(content.substr(0, end));
    if (id && id->bytes == hash_bytes(format)) ids.push_back(id->to_hex());
    content.remove_prefix(std::min(end + 1, content.size()));
  }
  return ids;
}

io::Result<void> RefReader::read_blocking(std::string& problem) {
  for (int attempt = 1;; ++attempt) {
    draft_.ref_stamps = FileStamps(began_unix_ns_);
    auto read = read_once(problem);
    if (!read) return read;
    if (attempt == kReadAttempts || draft_.ref_stamps.unchanged()) break;
  }
  if (sources_.loose.head.broken()) {
    problem = "HEAD of this repository is missing or malformed";
    return io::fail(io::Errc::corrupt, "HEAD");
  }
  resolve();
  return {};
}

io::Result<void> RefReader::read_once(std::string& problem) {
  const ObjectFormat format = format_of(*config_);
  sources_.config = config_;
  // Loose refs first: packing writes packed-refs before it removes what it packed.
  auto loose = read_loose_refs_blocking(repository_, format, draft_.ref_stamps);
  if (!loose) return std::unexpected(loose.error());
  sources_.loose = std::move(*loose);
  const std::string path = repository_.common_dir + "/packed-refs";
  std::size_t line = 0;
  auto packed = PackedRefs::read_blocking(
      path, format, previous_ != nullptr ? previous_->snapshot->packed() : nullptr,
      previous_ != nullptr ? previous_->packed_stamp : FileStamp{}, draft_.packed_stamp, line);
  if (!packed) {
    if (packed.error().code == io::Errc::corrupt) {
      problem = "packed-refs of this repository is malformed in line " + std::to_string(line);
    }
    return std::unexpected(packed.error());
  }
  sources_.packed = std::move(*packed);
  draft_.ref_stamps.add(path, draft_.packed_stamp, true);
  const auto shallow = read_shallow(repository_.common_dir + "/shallow", draft_.ref_stamps);
  if (!shallow) return std::unexpected(shallow.error());
  sources_.shallow = parse_shallow(*shallow, format);
  return {};
}

void RefReader::take_listed(LooseRefs refs, FileStamps stamps) {
  std::size_t line = 0;
  sources_.config = config_;
  sources_.loose = std::move(refs);
  auto none = PackedRefs::parse({}, format_of(*config_), line);
  WEIR_CHECK(none.has_value());
  sources_.packed = std::move(*none);
  draft_.ref_stamps = std::move(stamps);
  resolve();
}

void RefReader::resolve() {
  overlay_ = resolve_refs(sources_);
  to_peel_ = overlay_.unknown_ids(previous_ != nullptr ? previous_->peels : PeelMap{});
}

std::shared_ptr<NativeRefSnapshot> RefReader::build_blocking(const std::vector<ObjectId>& peeled) {
  WEIR_CHECK(peeled.size() == to_peel_.size());
  for (std::size_t i = 0; i < peeled.size(); ++i) draft_.peels.emplace(to_peel_[i], peeled[i]);
  // Only values still in use are carried on.
  const auto carry = [this](const RefOverlay::Item& item) {
    if (previous_ == nullptr || item.peel_known) return;
    const auto known = previous_->peels.find(item.id);
    if (known != previous_->peels.end()) draft_.peels.insert(*known);
  };
  for (const RefOverlay::Item& item : overlay_.items) carry(item);
  carry(overlay_.head);
  return NativeRefSnapshot::build(sources_, overlay_, draft_.peels,
                                  previous_ != nullptr ? previous_->snapshot.get() : nullptr);
}

LoadedRefs RefReader::finish(std::shared_ptr<const NativeRefSnapshot> snapshot) {
  constexpr std::size_t kPeelBytes = 2 * sizeof(ObjectId) + 32;
  draft_.bytes = snapshot->bytes() + draft_.config_stamps.bytes() + draft_.ref_stamps.bytes() +
                 draft_.peels.size() * kPeelBytes;
  draft_.snapshot = std::move(snapshot);
  sources_ = {};  // freed by this thread rather than by the loop
  overlay_ = {};
  return std::move(draft_);
}

}  // namespace weir::git
