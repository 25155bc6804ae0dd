#include "git/path_hints.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "git/object_text.h"

namespace weir::git {
namespace {

std::uint64_t hash_of(PathHints::Path parent, std::string_view name) {
  return (std::hash<std::string_view>{}(name) ^ parent) * 0x9e3779b97f4a7c15 + parent;
}

}  // namespace

PathHints::Path PathHints::child(Path parent, std::string_view name) {
  if (parent == kNoPath || path_of_.size() >= kHintsMax) return kNoPath;
  const auto [at, fresh] =
      paths_.try_emplace(hash_of(parent, name), static_cast<Path>(places_.size()));
  if (fresh) {
    places_.emplace_back();
    places_[parent].has_children = true;
  }
  return at->second;
}

PathHints::Path PathHints::find(Path parent, std::string_view name) const {
  const auto found = paths_.find(hash_of(parent, name));
  return found == paths_.end() ? kNoPath : found->second;
}

void PathHints::note(ObjectNumber lacking, Path path) {
  if (path == kNoPath || !path_of_.emplace(lacking, path).second) return;
  places_[path].lacking.push_back(lacking);
}

PathHints::Path PathHints::path_of(ObjectNumber lacking) const {
  const auto found = path_of_.find(lacking);
  return found == path_of_.end() ? kNoPath : found->second;
}

bool PathHints::add_client(Path path, ObjectNumber object) {
  Place& place = places_[path];
  if (place.clients == place.client.size()) return false;
  if (place.clients != 0 && place.client[0] == object) return false;
  place.client[place.clients++] = object;
  return true;
}

io::Result<void> PathHints::look_at_client(ObjectStore& store, ObjectNumber root) {
  std::vector<std::pair<ObjectNumber, Path>> pending;
  if (add_client(kRoot, root)) pending.emplace_back(root, kRoot);
  while (!pending.empty()) {
    const auto [tree, path] = pending.back();
    pending.pop_back();
    const io::Result<ObjectContent> content = store.read(tree);
    if (!content) return std::unexpected(content.error());
    TreeReader reader(content->span(), store.format());
    TreeEntry entry;
    while (reader.next(entry)) {
      if (entry.kind == TreeEntryKind::submodule) continue;
      const Path here = find(path, entry.name);
      if (here == kNoPath) continue;
      const std::optional<ObjectNumber> object =
          store.find(ObjectId::from_bytes(entry.hash, store.format()));
      if (!object) continue;
      // So each path is looked at once a tree of the client, whatever a tree repeats.
      if (!add_client(here, *object)) continue;
      if (entry.kind == TreeEntryKind::tree && places_[here].has_children) {
        pending.emplace_back(*object, here);
      }
    }
  }
  return {};
}

}  // namespace weir::git
