#pragma once
// RefReader: makes one snapshot of a repository from its files, with what a former one can lend
// (packed-refs that did not change, peeled values, chunks). The blocking half of the ref store:
// pool threads call it, one at a time per repository. LoadedRefs is its immutable result.

#include <memory>
#include <string>

#include "git/file_stamps.h"
#include "git/native_ref_snapshot.h"

namespace weir::git {

// The longest shallow file that is advertised.
inline constexpr std::size_t kShallowBytesMax = 4UL * 1024 * 1024;

struct LoadedRefs {
  std::shared_ptr<const NativeRefSnapshot> snapshot;
  FileStamps config_stamps;
  FileStamps ref_stamps;
  FileStamp packed_stamp;
  PeelMap peels;
  std::size_t bytes = 0;

  bool racy() const { return config_stamps.racy() || ref_stamps.racy(); }
  std::size_t stats() const { return config_stamps.size() + ref_stamps.size(); }
  bool unchanged_by(const io::Clock& clock, io::Instant end) const {
    return config_stamps.unchanged_by(clock, end) && ref_stamps.unchanged_by(clock, end);
  }
};

class RefReader {
 public:
  RefReader(const Repository& repository, std::shared_ptr<const RepositoryConfig> config,
            FileStamps config_stamps, const LoadedRefs* previous, std::int64_t began_unix_ns)
      : repository_(repository),
        config_(std::move(config)),
        previous_(previous),
        began_unix_ns_(began_unix_ns) {
    draft_.config_stamps = std::move(config_stamps);
  }

  // Reads HEAD, loose refs, packed-refs and the shallow file, in the order that misses nothing
  // while git packs or deletes; again (a few times) if they changed meanwhile. `problem`: for the
  // user.
  io::Result<void> read_blocking(std::string& problem);
  // The same for refs that git listed: `stamps` were taken before it did.
  void take_listed(LooseRefs refs, FileStamps stamps);
  // What a worker must peel before build().
  const std::vector<ObjectId>& to_peel() const { return to_peel_; }
  // `peeled`: for to_peel(), in order. finish() is the last call.
  std::shared_ptr<NativeRefSnapshot> build_blocking(const std::vector<ObjectId>& peeled);
  LoadedRefs finish(std::shared_ptr<const NativeRefSnapshot> snapshot);

 private:
  io::Result<void> read_once(std::string& problem);
  void resolve();

  const Repository& repository_;
  const std::shared_ptr<const RepositoryConfig> config_;
  const LoadedRefs* const previous_;
  const std::int64_t began_unix_ns_;
  LoadedRefs draft_;
  RefSources sources_;
  RefOverlay overlay_;
  std::vector<ObjectId> to_peel_;
};

// Ids of a shallow file; malformed lines are left out.
std::vector<std::string> parse_shallow(std::string_view content, ObjectFormat format);

}  // namespace weir::git
