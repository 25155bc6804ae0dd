#include "git/fetch_request.h"

#include <charconv>
#include <unordered_set>

#include "git/pkt_line.h"

namespace weir::git {
namespace {

using io::Errc;
using io::fail;
using io::Result;

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// As git writes it. git reads a leading zero as octal: what is checked here must be what it reads.
bool parse_number(std::string_view text, std::int64_t& value) {
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stopped != end || text[0] == '-') return false;
  return text.size() == 1 || text[0] != '0';
}

bool printable(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return false;
  }
  return !text.empty();
}

// Collects both protocols' lines into one request.
class Collector {
 public:
  explicit Collector(ObjectFormat format) : digits_(2 * hash_bytes(format)) {}

  // The id at the front of `text`, which is moved behind it.
  std::optional<ObjectId> take_id(std::string_view& text) const {
    if (text.size() < digits_) return std::nullopt;
    const std::optional<ObjectId> id = ObjectId::from_hex(text.substr(0, digits_));
    if (id) text.remove_prefix(digits_);
    return id;
  }
  std::optional<ObjectId> whole_id(std::string_view text) const {
    const std::optional<ObjectId> id = take_id(text);
    return text.empty() ? id : std::nullopt;
  }

  Result<void> want(const ObjectId& id) {
    if (!wants_seen_.insert(id).second) return {};
    if (request.wants.size() == kWantsMax) return fail(Errc::limit, "too many wants");
    request.wants.push_back(id);
    return {};
  }
  Result<void> have(const ObjectId& id) {
    if (!haves_seen_.insert(id).second) {
      if (++have_repeats_ > kHaveRepeatsMax) return fail(Errc::limit, "too many repeated haves");
      return {};
    }
    if (request.haves.size() == kHavesMax) return fail(Errc::limit, "too many haves");
    request.haves.push_back(id);
    return {};
  }

  // Lines that both protocols write alike. `known` tells whether `line` was one of them.
  Result<void> shared_line(std::string_view line, bool& known) {
    known = true;
    if (take_prefix(line, "have ")) {
      const std::optional<ObjectId> id = whole_id(line);
      if (!id) return fail(Errc::protocol, "a have line is not 'have <object-id>'");
      return have(*id);
    }
    if (take_prefix(line, "shallow ")) {
      const std::optional<ObjectId> id = whole_id(line);
      if (!id) return fail(Errc::protocol, "a shallow line is not 'shallow <object-id>'");
      if (request.shallows.size() == kShallowsMax) {
        return fail(Errc::limit, "too many shallow lines");
      }
      request.shallows.push_back(*id);
      return {};
    }
    if (take_prefix(line, "deepen ")) {
      if (request.deepen != 0) return fail(Errc::protocol, "deepen is given twice");
      if (!parse_number(line, request.deepen) || request.deepen == 0 ||
          request.deepen > kDepthMax) {
        return fail(Errc::protocol, "deepen needs a depth from 1 to 2147483647");
      }
      return {};
    }
    if (take_prefix(line, "deepen-since ")) {
      if (!parse_number(line, request.deepen_since)) {
        return fail(Errc::protocol, "deepen-since needs a time in seconds");
      }
      return {};
    }
    if (take_prefix(line, "deepen-not ")) {
      if (!printable(line)) return fail(Errc::protocol, "deepen-not needs the name of a ref");
      if (request.deepen_not.size() == kDeepenNotMax) {
        return fail(Errc::limit, "too many deepen-not lines");
      }
      request.deepen_not.emplace_back(line);
      return {};
    }
    if (take_prefix(line, "filter ")) {
      if (!request.filter.empty()) return fail(Errc::protocol, "filter is given twice");
      if (line.size() > kFilterBytesMax) return fail(Errc::limit, "the filter is too long");
      if (!printable(line)) return fail(Errc::protocol, "filter needs a specification");
      request.filter = line;
      return {};
    }
    known = false;
    return {};
  }

  Result<FetchRequest> finish() {
    if (request.deepen != 0 && (request.deepen_since >= 0 || !request.deepen_not.empty())) {
      return fail(Errc::protocol,
                  "deepen and deepen-since (or deepen-not) cannot be used together");
    }
    return std::move(request);
  }

  FetchRequest request;

 private:
  const std::size_t digits_;
  std::unordered_set<ObjectId, ObjectIdHash> wants_seen_;
  std::unordered_set<ObjectId, ObjectIdHash> haves_seen_;
  std::size_t have_repeats_ = 0;
};

bool take_flag(std::string_view line, FetchRequest& request) {
  if (line == "done") return request.done = true;
  if (line == "thin-pack") return request.thin_pack = true;
  if (line == "no-progress") return request.no_progress = true;
  if (line == "include-tag") return request.include_tag = true;
  if (line == "ofs-delta") return request.ofs_delta = true;
  if (line == "deepen-relative") return request.deepen_relative = true;
  if (line == "sideband-all") return request.sideband_all = true;
  if (line == "wait-for-done") return request.wait_for_done = true;
  return false;
}

// v0/v1 capabilities, behind the first want. What we do not know is ignored, as git does.
Result<void> take_capabilities(std::string_view list, ObjectFormat format, FetchRequest& request) {
  // git takes more than spaces for the ends of words, and these decide what is sent.
  if (list.find("deepen-relative") != list.npos) request.deepen_relative = true;
  if (list.find("include-tag") != list.npos) request.include_tag = true;
  while (!list.empty()) {
    const std::size_t space = list.find(' ');
    std::string_view word = list.substr(0, space);
    list.remove_prefix(space == list.npos ? list.size() : space + 1);
    if (word == "side-band-64k") {
      request.sideband = SidebandKind::large;
    } else if (word == "side-band") {
      if (request.sideband == SidebandKind::none) request.sideband = SidebandKind::small;
    } else if (word == "thin-pack") {
      request.thin_pack = true;
    } else if (word == "no-progress") {
      request.no_progress = true;
    } else if (word == "ofs-delta") {
      request.ofs_delta = true;
    } else if (take_prefix(word, "agent=")) {
      request.agent = word;
    } else if (take_prefix(word, "object-format=") && word != format_name(format)) {
      return fail(Errc::protocol, "mismatched object format");
    }
  }
  return {};
}

}  // namespace

Result<FetchRequest> parse_v2_fetch(std::span<const std::string_view> arguments,
                                    ObjectFormat format) {
  Collector collector(format);
  FetchRequest& request = collector.request;
  for (std::string_view line : arguments) {
    if (take_flag(line, request)) continue;
    bool known = false;
    if (const Result<void> taken = collector.shared_line(line, known); !taken) {
      return std::unexpected(taken.error());
    }
    if (known) continue;
    if (take_prefix(line, "want ")) {
      const std::optional<ObjectId> id = collector.whole_id(line);
      if (!id) return fail(Errc::protocol, "a want line is not 'want <object-id>'");
      if (const Result<void> taken = collector.want(*id); !taken) {
        return std::unexpected(taken.error());
      }
    } else if (take_prefix(line, "want-ref ")) {
      if (!printable(line)) return fail(Errc::protocol, "want-ref needs the name of a ref");
      if (request.want_refs.size() == kWantRefsMax) return fail(Errc::limit, "too many want-refs");
      request.want_refs.emplace_back(line);
    } else if (take_prefix(line, "packfile-uris ")) {
      if (!printable(line)) return fail(Errc::protocol, "packfile-uris needs a list of protocols");
      request.packfile_uris = line;
    } else {
      return fail(Errc::protocol, "unknown fetch argument");
    }
  }
  return collector.finish();
}

Result<FetchRequest> parse_v0_fetch(std::string_view body, ObjectFormat format) {
  Collector collector(format);
  FetchRequest& request = collector.request;
  request.sideband = SidebandKind::none;
  bool negotiating = false;  // behind the flush that ends the wants
  while (!body.empty()) {
    Pkt pkt;
    const PktStatus status = read_pkt(body, pkt);
    if (status == PktStatus::malformed) return fail(Errc::protocol, "bad pkt-line length");
    if (status == PktStatus::need_more) return fail(Errc::protocol, "the request is cut short");
    if (request.done) return fail(Errc::protocol, "bytes after done");
    body.remove_prefix(pkt.bytes);
    if (pkt.kind == PktKind::flush) {
      negotiating = true;
      continue;
    }
    if (pkt.kind != PktKind::data) return fail(Errc::protocol, "unexpected special packet");
    std::string_view line = pkt_text(pkt);
    if (line.find('\0') != line.npos) return fail(Errc::protocol, "NUL in the request");
    if (negotiating) {
      if (line == "done") {
        request.done = true;
        continue;
      }
      if (!line.starts_with("have ")) return fail(Errc::protocol, "expected have or done");
    } else if (take_prefix(line, "want ")) {
      const std::optional<ObjectId> id = collector.take_id(line);
      if (!id || (!line.empty() && line[0] != ' ')) {
        return fail(Errc::protocol, "a want line is not 'want <object-id>'");
      }
      if (const Result<void> taken = take_capabilities(line, format, request); !taken) {
        return std::unexpected(taken.error());
      }
      if (const Result<void> taken = collector.want(*id); !taken) {
        return std::unexpected(taken.error());
      }
      continue;
    } else if (line.starts_with("have ")) {
      return fail(Errc::protocol, "a have before the wants ended");
    }
    bool known = false;
    if (const Result<void> taken = collector.shared_line(line, known); !taken) {
      return std::unexpected(taken.error());
    }
    if (!known) return fail(Errc::protocol, "unknown line in the request");
  }
  if (!negotiating) return fail(Errc::protocol, "the request is cut short");
  if (request.wants.empty()) return fail(Errc::protocol, "no wants in the request");
  return collector.finish();
}

Result<std::vector<ObjectId>> parse_object_info(std::span<const std::string_view> arguments,
                                                ObjectFormat format) {
  Collector collector(format);
  for (std::string_view line : arguments) {
    if (line == "size") continue;
    if (!take_prefix(line, "oid ")) return fail(Errc::protocol, "unknown object-info argument");
    const std::optional<ObjectId> id = collector.whole_id(line);
    if (!id) return fail(Errc::protocol, "an oid line is not 'oid <object-id>'");
    if (const Result<void> taken = collector.want(*id); !taken) {
      return std::unexpected(taken.error());
    }
  }
  return std::move(collector.request.wants);
}

}  // namespace weir::git
