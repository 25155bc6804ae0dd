#pragma once
// NativeRefSnapshot: the RefSnapshot that is made of ref files. A sorted array of pointers to ref
// lines (packed_refs.h): most into the shared packed-refs bytes, the rest into a small overlay made
// of the loose refs. Cut into chunks at names (begins_chunk), so that a chunk is a function of its
// refs alone: a rebuild takes over every chunk whose lines did not change, with its digest and its
// rendered bytes. Built on a pool thread in two steps with the peeling between them; immutable once
// published, but for rendered bytes, which are filled in on first use under the chunk's mutex.
// Bounded: 8 bytes a ref + <= 8 in the id table + 1 if refs are hidden + rendered bytes; bytes().

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "git/loose_refs.h"
#include "git/packed_refs.h"
#include "git/ref_memory.h"
#include "git/ref_snapshot.h"

namespace weir::git {

// What ids peel to; a null value: no annotated tag.
using PeelMap = std::unordered_map<ObjectId, ObjectId, ObjectIdHash>;

struct RefSources {
  std::shared_ptr<const RepositoryConfig> config;
  std::shared_ptr<const PackedRefs> packed;
  LooseRefs loose;
  std::vector<std::string> shallow;  // hex ids of the shallow file
};

// Step one: what stands above the packed refs, symbolic refs resolved (chains of at most 5, as
// git).
struct RefOverlay {
  struct Item {
    std::string name;
    ObjectId id;  // null: the packed ref of this name is not served
    std::string target;
    ObjectId peeled;
    bool peel_known = false;
  };
  std::vector<Item> items;  // in byte order of names
  Item head;                // id null: unborn if it has a target, else broken
  std::size_t broken = 0;

  // Ids to peel that `known` does not tell, without repetition.
  std::vector<ObjectId> unknown_ids(const PeelMap& known) const;
};
RefOverlay resolve_refs(const RefSources& sources);

class NativeRefSnapshot final : public RefSnapshot {
 public:
  // Step two. `peels` tells every id of unknown_ids(); `previous` may be null.
  static std::shared_ptr<NativeRefSnapshot> build(const RefSources& sources,
                                                  const RefOverlay& overlay, const PeelMap& peels,
                                                  const NativeRefSnapshot* previous);

  const RepositoryConfig& config() const override { return *config_; }
  std::uint64_t repository_generation() const override { return generation_; }
  std::string_view digest() const override { return digest_; }
  std::string_view head_target() const override { return head_.target; }
  ObjectId head_id() const override { return head_.id; }
  std::size_t size() const override { return lines_.size(); }
  Ref at(std::size_t index) const override;
  std::optional<Ref> find(std::string_view name) const override;
  bool advertises(const ObjectId& id, Service service) const override;
  using RefSnapshot::advertisement;
  using RefSnapshot::ls_refs;
  std::optional<RenderedBody> ls_refs(const LsRefsRequest& request, Effort effort) const override;
  std::optional<RenderedBody> advertisement(Service service, int protocol_version,
                                            const AdvertisementOptions& options,
                                            Effort effort) const override;

  // Before the snapshot is published.
  void set_generation(std::uint64_t generation) { generation_ = generation; }
  std::size_t bytes() const;
  const std::shared_ptr<const PackedRefs>& packed() const { return packed_; }
  const std::shared_ptr<const RepositoryConfig>& shared_config() const { return config_; }
  std::size_t chunks_for_test() const { return chunks_.size(); }
  std::size_t chunks_shared_for_test(const NativeRefSnapshot& other) const;

 private:
  // How a line can look. The ls-refs forms are indexed by their options.
  enum Form : std::uint8_t {
    kPlain = 0,
    kPeel = 1,
    kSymrefs = 2,
    kPeelSymrefs = 3,
    kUploadPack = 4,
    kReceivePack = 5,
    kForms = 6
  };
  struct Chunk {
    std::array<std::uint8_t, 32> digest{};
    std::mutex mutex;
    std::array<std::shared_ptr<const std::string>, kForms> rendered;
    RefMemory memory;
  };
  // Finds refs by the id they show; open addressing over line numbers.
  struct IdTable {
    std::vector<std::uint32_t> slots;  // 0: empty, else 2 * line + (1 if by its peeled id) + 1
    std::size_t used = 0;
  };

  NativeRefSnapshot() = default;
  // Returns where chunks may begin.
  std::vector<std::uint32_t> merge(const RefOverlay& overlay, const PeelMap& peels);
  void cut(const std::vector<std::uint32_t>& candidates, const NativeRefSnapshot* previous);
  bool same_lines(std::size_t chunk, const NativeRefSnapshot& other, std::size_t other_chunk) const;
  void hide(Service service, const std::vector<std::string>& patterns);
  void index_ids(IdTable& table, Service service) const;
  std::string compute_digest() const;

  std::string_view name(std::size_t index) const {
    return ref_line_name(lines_[index], packed_->hex_bytes());
  }
  RefLine line(std::size_t index) const { return RefLine::at(lines_[index], packed_->hex_bytes()); }
  bool hidden(std::size_t index, Service service) const {
    return !hidden_.empty() && (hidden_[index] & (1U << static_cast<unsigned>(service))) != 0;
  }
  bool head_visible(Service service) const {
    return head_.id.bytes != 0 && (head_hidden_ & (1U << static_cast<unsigned>(service))) == 0;
  }
  std::size_t chunk_end(std::size_t chunk) const {
    return chunk + 1 < starts_.size() ? starts_[chunk + 1] : lines_.size();
  }
  std::size_t own_bytes() const;
  std::size_t lower_bound(std::string_view name) const;
  void render(Form form, std::size_t begin, std::size_t end, std::string& out) const;
  // An answer in the making. `pending` follows what the body has.
  struct Answer {
    RenderedBody body;
    std::string pending;
    Effort effort = Effort::whole;
    std::size_t lines_rendered = 0;
    // Whether so many lines more may be rendered.
    bool takes(std::size_t lines);
  };
  // Null if it is not there yet and the answer takes no more.
  std::shared_ptr<const std::string> rendered(Form form, std::size_t chunk, Answer& answer) const;
  // Appends the lines [begin, end): whole chunks shared, the rest copied. False: too much.
  bool emit(Form form, std::size_t begin, std::size_t end, Answer& answer) const;
  std::string capabilities(Service service, const AdvertisementOptions& options) const;

  std::shared_ptr<const RepositoryConfig> config_;
  std::shared_ptr<const PackedRefs> packed_;
  std::string overlay_;
  std::vector<const char*> lines_;
  std::vector<std::uint8_t> hidden_;  // empty, or a byte a ref
  std::vector<std::uint32_t> starts_;
  std::vector<std::shared_ptr<Chunk>> chunks_;
  std::array<IdTable, 2> ids_;  // by service; the second is empty when nothing is hidden
  RefOverlay::Item head_;
  std::uint8_t head_hidden_ = 0;
  std::vector<std::string> shallow_;
  std::string digest_;
  std::uint64_t generation_ = 0;
  RefMemory memory_;  // of what it does not share
  // Forms somebody asked for: the next snapshot renders them before it is published.
  mutable std::atomic<std::uint8_t> wanted_{1U << kPeelSymrefs};
};

}  // namespace weir::git
