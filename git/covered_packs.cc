#include "git/covered_packs.h"

#include <string>
#include <string_view>
#include <tuple>

namespace weir::git {
namespace {

// The file of the pack that belongs to this index, among those that are open.
std::optional<std::uint32_t> pack_file(const std::vector<MappedRepositoryFile>& files,
                                       const std::vector<StoredPack>& packs, std::uint8_t store,
                                       std::string_view index_name) {
  constexpr std::string_view kSuffix = ".idx";
  if (!index_name.ends_with(kSuffix)) return std::nullopt;
  index_name.remove_suffix(kSuffix.size());
  for (const StoredPack& stored : packs) {
    const RepositoryFile& pack = files[stored.file].file;
    if (pack.store == store && pack.name == index_name) return stored.file;
  }
  return std::nullopt;
}

}  // namespace

std::optional<CoveredPacks> CoveredPacks::open(const std::vector<MappedRepositoryFile>& files,
                                               std::uint32_t file,
                                               const std::vector<StoredPack>& packs,
                                               ObjectFormat format) {
  const std::uint8_t store = files[file].file.store;
  std::span<const std::uint8_t> reverse_index;
  for (const MappedRepositoryFile& other : files) {
    if (other.file.role == FileRole::multi_pack_reverse_index && other.file.store == store) {
      reverse_index = other.mapping.bytes();
    }
  }
  io::Result<MultiPackIndex> index =
      MultiPackIndex::open(files[file].mapping.bytes(), reverse_index, format);
  if (!index) return std::nullopt;
  CoveredPacks covered;
  covered.index_ = std::move(*index);
  covered.file_ = file;
  for (std::uint32_t pack = 0; pack < covered.index_.packs(); ++pack) {
    const auto found = pack_file(files, packs, store, covered.index_.pack_name(pack));
    if (!found) return std::nullopt;
    covered.pack_files_.push_back(*found);
  }
  if (const auto position = covered.index_.position_of_bit(0)) {
    const auto place = covered.index_.place_at(*position);
    if (place) covered.preferred_file_ = covered.pack_files_[place->pack];
  }
  return covered;
}

// Names rise in both kinds of index, so each pack's own is read along, from its first to its last:
// the name is the next of its pack, but for those of which another pack's copy was chosen.
bool CoveredPacks::take_numbers(const std::vector<StoredPack>& packs) {
  if (!index_.names_in_order()) return false;
  struct Reading {
    const StoredPack* stored = nullptr;
    std::uint32_t next = 0;  // position in its index
  };
  std::vector<Reading> readings;
  for (const std::uint32_t file : pack_files_) {
    readings.push_back({&*std::ranges::find(packs, file, &StoredPack::file), 0});
  }
  // Up to `end`, or all of them.
  const auto pass_copies = [this](Reading& reading, const ObjectId* end) {
    const PackIndex& names = reading.stored->pack->index();
    for (; reading.next < names.count(); ++reading.next) {
      const ObjectId id = names.id_at(reading.next);
      if (end != nullptr && !(id < *end)) return true;
      if (!index_.find(id)) return false;
    }
    return true;
  };
  numbers_.resize(index_.count());
  for (std::uint32_t position = 0; position < index_.count(); ++position) {
    const std::optional<MultiPackIndex::Place> place = index_.place_at(position);
    if (!place) return false;
    Reading& reading = readings[place->pack];
    const Pack& pack = *reading.stored->pack;
    const ObjectId id = index_.id_at(position);
    if (!pass_copies(reading, &id) || reading.next == pack.count() ||
        pack.index().id_at(reading.next) != id ||
        pack.index().offset_at(reading.next) != place->offset) {
      return false;
    }
    numbers_[position] = reading.stored->first + pack.rank_of_position(reading.next++);
  }
  return std::ranges::all_of(readings,
                             [&](Reading& reading) { return pass_copies(reading, nullptr); });
}

// gitformat-pack(5), "multi-pack-index reverse indexes": the preferred pack, then the others as
// they are listed, each in offset order. What only ever rises names no position twice.
std::vector<ObjectNumber> CoveredPacks::numbers_by_bit() const {
  std::vector<ObjectNumber> numbers;
  if (!index_.has_order()) return numbers;
  numbers.reserve(index_.count());
  std::tuple<bool, std::uint32_t, std::uint64_t> last;
  for (std::uint32_t bit = 0; bit < index_.count(); ++bit) {
    const std::optional<std::uint32_t> position = index_.position_of_bit(bit);
    if (!position) return {};
    const std::optional<MultiPackIndex::Place> place = index_.place_at(*position);
    if (!place) return {};
    const std::tuple here{pack_files_[place->pack] != preferred_file_, place->pack, place->offset};
    if (here <= last) return {};
    last = here;
    numbers.push_back(numbers_[*position]);
  }
  return numbers;
}

}  // namespace weir::git
