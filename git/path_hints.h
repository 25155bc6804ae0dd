#pragma once
// PathHints: at which path each object that a client lacks was met, and what the client has at that
// path: where a small delta is likely to be found. Collected while trees are compared, for the
// lacking objects only. Hints: paths are told apart by 64-bit hashes, and beyond kHintsMax objects
// nothing more is noted. A value of one plan; one thread.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "git/object_store.h"
#include "io/error.h"

namespace weir::git {

inline constexpr std::size_t kHintsMax = 256UL * 1024;

class PathHints {
 public:
  using Path = std::uint32_t;
  static constexpr Path kRoot = 0;
  static constexpr Path kNoPath = 0xffffffff;

  PathHints() : places_(1) {}
  // The path of an entry of the tree at `parent`, made if it is new.
  Path child(Path parent, std::string_view name);
  void note(ObjectNumber lacking, Path path);
  // Looks into a tree of the client, from its root, at the paths there are; of two trees each path
  // keeps what it has there.
  io::Result<void> look_at_client(ObjectStore& store, ObjectNumber root);

  Path path_of(ObjectNumber lacking) const;
  // In the order they were met: versions of one commit after the other.
  std::span<const ObjectNumber> lacking_at(Path path) const { return places_[path].lacking; }
  std::span<const ObjectNumber> client_at(Path path) const {
    return {places_[path].client.data(), places_[path].clients};
  }

 private:
  struct Place {
    std::vector<ObjectNumber> lacking;
    std::array<ObjectNumber, 2> client{};
    std::uint8_t clients = 0;
    bool has_children = false;
  };
  Path find(Path parent, std::string_view name) const;
  // False: nothing new.
  bool add_client(Path path, ObjectNumber object);

  std::vector<Place> places_;
  std::unordered_map<std::uint64_t, Path> paths_;
  std::unordered_map<ObjectNumber, Path> path_of_;
};

}  // namespace weir::git
