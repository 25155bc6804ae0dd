#pragma once
// ObjectType: the four kinds of Git objects, numbered as packs store them (gitformat-pack(5)).

#include <cstdint>
#include <optional>
#include <string_view>

namespace weir::git {

enum class ObjectType : std::uint8_t { commit = 1, tree = 2, blob = 3, tag = 4 };

// What a pack stores instead of a type where an object is a delta: its base by distance, by name.
inline constexpr unsigned kOfsDelta = 6;
inline constexpr unsigned kRefDelta = 7;

constexpr std::string_view type_name(ObjectType type) {
  switch (type) {
    case ObjectType::commit:
      return "commit";
    case ObjectType::tree:
      return "tree";
    case ObjectType::blob:
      return "blob";
    case ObjectType::tag:
      return "tag";
  }
  return "";
}

}  // namespace weir::git
