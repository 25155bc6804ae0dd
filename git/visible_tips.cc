#include "git/visible_tips.h"

#include <algorithm>
#include <string>

#include "io/digest.h"

namespace weir::git {
namespace {

template <typename T>
void make_set(std::vector<T>& list) {
  std::ranges::sort(list);
  const auto repeated = std::ranges::unique(list);
  list.erase(repeated.begin(), repeated.end());
}

void append(std::string& text, const ObjectId& id) {
  text.append(reinterpret_cast<const char*>(id.hash.data()), id.bytes);
}

}  // namespace

VisibleTips visible_to_fetches(const RefSnapshot& snapshot) {
  VisibleTips visible;
  for (std::size_t i = 0; i < snapshot.size(); ++i) {
    const Ref ref = snapshot.at(i);
    if (ref.hidden_from(Service::upload_pack) || ref.id.is_null()) continue;
    visible.tips.push_back(ref.id);
    if (!ref.peeled.is_null()) visible.tags.emplace_back(ref.id, ref.peeled);
  }
  const ObjectId head = snapshot.head_id();
  if (!head.is_null() && snapshot.advertises(head, Service::upload_pack)) {
    visible.tips.push_back(head);
  }
  make_set(visible.tips);
  make_set(visible.tags);
  std::string text = "weir tips 1 " + std::to_string(visible.tips.size()) + "\n";
  for (const ObjectId& tip : visible.tips) append(text, tip);
  for (const auto& [tag, peeled] : visible.tags) {
    append(text, tag);
    append(text, peeled);
  }
  visible.digest = io::to_hex(io::sha256(text));
  return visible;
}

}  // namespace weir::git
