#pragma once
// StoredPack: a pack of an ObjectStore (git/object_store.h) and which numbers its objects have.

#include <cstdint>
#include <memory>

#include "git/pack.h"

namespace weir::git {

using ObjectNumber = std::uint32_t;

struct StoredPack {
  std::unique_ptr<Pack> pack;
  ObjectNumber first = 0;  // of its objects, which follow each other in offset order
  std::uint32_t file = 0;  // of the pack, in the list of files
};

}  // namespace weir::git
