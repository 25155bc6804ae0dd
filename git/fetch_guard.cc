#include "git/fetch_guard.h"

#include <algorithm>
#include <array>
#include <utility>

#include "git/fetch_request.h"
#include "git/hide_refs.h"
#include "git/pkt_line.h"

namespace weir::git {
namespace {

constexpr std::string_view kTags = "refs/tags";
constexpr std::string_view kIncludeTag = "include-tag";

// Escaped ones are none of these: what they stand for would be git's to find out.
bool plain_filter(std::string_view filter) {
  return filter == "blob:none" || filter.starts_with("blob:limit=") ||
         filter.starts_with("tree:") || filter.starts_with("object:type=");
}

// git looks for a capability's name anywhere behind a want, so that is where it is blotted out.
void blot_out(std::string& text, std::string_view word) {
  for (std::size_t at = 0; (at = text.find(word, at)) != text.npos; at += word.size()) {
    text.replace(at, word.size(), word.size(), ' ');
  }
}

}  // namespace

bool filter_served(std::string_view filter) {
  constexpr std::string_view kCombine = "combine:";
  if (!filter.starts_with(kCombine)) return plain_filter(filter);
  filter.remove_prefix(kCombine.size());
  for (std::size_t parts = 1;; ++parts) {
    const std::size_t end = std::min(filter.find('+'), filter.size());
    if (parts > kFilterPartsMax || !plain_filter(filter.substr(0, end))) return false;
    if (end == filter.size()) return true;
    filter.remove_prefix(end + 1);
  }
}

bool names_visible_ref(const RefSnapshot& snapshot, std::string_view name) {
  if (name == "HEAD") return snapshot.advertises(snapshot.head_id(), Service::upload_pack);
  // gitrevisions(7), <refname>
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kRules{
      {{"", ""},
       {"refs/", ""},
       {"refs/tags/", ""},
       {"refs/heads/", ""},
       {"refs/remotes/", ""},
       {"refs/remotes/", "/HEAD"}}};
  bool visible = false;
  for (const auto& [before, behind] : kRules) {
    std::string full(before);
    full += name;
    full += behind;
    const std::optional<Ref> ref = snapshot.find(full);
    if (ref && ref->hidden_from(Service::upload_pack)) return false;
    visible = visible || ref;
  }
  return visible;
}

bool may_hide_tags(std::span<const std::string> patterns) {
  return std::ranges::any_of(patterns, [](const std::string& text) {
    const HidePattern pattern(text);
    const std::string_view prefix = pattern.prefix;
    const bool below =
        prefix.size() > kTags.size() && prefix.starts_with(kTags) && prefix[kTags.size()] == '/';
    return pattern.hides && (below || pattern.matches(kTags));
  });
}

std::string request_for_git(std::string_view body, int version, bool drop_include_tag) {
  static const std::string kAll = "deepen " + std::to_string(kDepthMax);
  static const std::string kNearlyAll = "deepen " + std::to_string(kDepthMax - 1);
  constexpr std::string_view kRelative = "deepen-relative";
  std::string out;
  out.reserve(body.size() + 128);
  std::string_view wanted;  // "want <object-id>", the first
  Pkt pkt;
  while (read_pkt(body, pkt) == PktStatus::complete) {
    const std::string_view whole = body.substr(0, pkt.bytes);
    body.remove_prefix(pkt.bytes);
    const std::string_view text = pkt.kind == PktKind::data ? pkt_text(pkt) : "";
    const bool want = text.starts_with("want ");
    if (want && wanted.empty()) wanted = text.substr(0, text.find(' ', 5));
    if (text == kAll) {
      append_pkt(out, kNearlyAll);
      // In older versions a capability: of any want, so of one that was there already.
      append_pkt(out, version == 2 ? std::string(kRelative)
                                   : std::string(wanted) + " " + std::string(kRelative));
    } else if (drop_include_tag && version == 2 && text == kIncludeTag) {
      continue;
    } else if (drop_include_tag && version != 2 && want) {
      std::string line(whole);
      blot_out(line, kIncludeTag);
      out += line;
    } else {
      out += whole;
    }
  }
  return out;
}

}  // namespace weir::git
