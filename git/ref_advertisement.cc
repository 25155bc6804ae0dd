// How a snapshot looks on the wire: ls-refs, the v0/v1 advertisements, the v2 capabilities. Byte
// for byte what git 2.39 sends for the same refs, agent apart; differences are noted where they are
// made.

#include <algorithm>

#include "git/native_ref_snapshot.h"
#include "git/pkt_line.h"

namespace weir::git {
namespace {

// Shorter chunks are copied: a part of an answer costs more than their bytes.
constexpr std::size_t kCopiedBytesMax = 4096;
// A small effort: a line takes some 50 ns, a prefix two searches.
constexpr std::size_t kSmallLinesMax = 8192;
constexpr std::size_t kSmallPrefixesMax = 64;

// <hex> SP <name> <tail> LF
void append_line(std::string& out, std::string_view hex, std::string_view name,
                 std::string_view tail = {}) {
  char header[4];
  write_pkt_length(header, 4 + hex.size() + 1 + name.size() + tail.size() + 1);
  out.append(header, 4).append(hex).append(1, ' ').append(name).append(tail).append(1, '\n');
}

// Prefixes in order, without those that another one covers.
std::vector<std::string_view> disjoint(const std::vector<std::string>& prefixes) {
  std::vector<std::string_view> sorted(prefixes.begin(), prefixes.end());
  std::ranges::sort(sorted);
  std::vector<std::string_view> kept;
  for (const std::string_view prefix : sorted) {
    if (kept.empty() || !prefix.starts_with(kept.back())) kept.push_back(prefix);
  }
  return kept;
}

}  // namespace

void NativeRefSnapshot::render(Form form, std::size_t begin, std::size_t end,
                               std::string& out) const {
  const Service service = form == kReceivePack ? Service::receive_pack : Service::upload_pack;
  const bool ls_refs = form < kUploadPack;
  for (std::size_t i = begin; i < end; ++i) {
    if (hidden(i, service)) continue;
    const RefLine ref = line(i);
    if (ls_refs) {
      const bool symref = (form & kSymrefs) != 0 && !ref.target.empty();
      const bool peeled = (form & kPeel) != 0 && !ref.peeled_hex.empty();
      if (!symref && !peeled) {
        append_line(out, ref.hex, ref.name);
        continue;
      }
      std::string tail;
      if (symref) tail.append(" symref-target:").append(ref.target);
      if (peeled) tail.append(" peeled:").append(ref.peeled_hex);
      append_line(out, ref.hex, ref.name, tail);
      continue;
    }
    append_line(out, ref.hex, ref.name);
    if (form == kUploadPack && !ref.peeled_hex.empty()) {
      append_line(out, ref.peeled_hex, ref.name, "^{}");
    }
  }
}

bool NativeRefSnapshot::Answer::takes(std::size_t lines) {
  lines_rendered += lines;
  return effort == Effort::whole || lines_rendered <= kSmallLinesMax;
}

std::shared_ptr<const std::string> NativeRefSnapshot::rendered(Form form, std::size_t chunk,
                                                               Answer& answer) const {
  Chunk& shared = *chunks_[chunk];
  std::unique_lock lock(shared.mutex, std::defer_lock);
  // Whoever has it may be rendering, on a thread that waits for a core.
  if (answer.effort == Effort::whole) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return nullptr;
  }
  std::shared_ptr<const std::string>& slot = shared.rendered[form];
  if (slot == nullptr) {
    std::string bytes;
    const std::size_t begin = starts_[chunk];
    const std::size_t end = chunk_end(chunk);
    if (!answer.takes(end - begin)) return nullptr;
    bytes.reserve((end - begin) * (packed_->hex_bytes() + 32));
    render(form, begin, end, bytes);
    slot = std::make_shared<const std::string>(std::move(bytes));
    shared.memory.grow(slot->size());
  }
  return slot;
}

bool NativeRefSnapshot::emit(Form form, std::size_t begin, std::size_t end, Answer& answer) const {
  if (begin >= end) return true;
  std::string& pending = answer.pending;
  const auto bit = static_cast<std::uint8_t>(1U << form);
  if ((wanted_.load(std::memory_order_relaxed) & bit) == 0) {
    wanted_.fetch_or(bit, std::memory_order_relaxed);
  }
  auto chunk =
      static_cast<std::size_t>(std::ranges::upper_bound(starts_, begin) - starts_.begin() - 1);
  for (; begin < end; ++chunk) {
    const std::size_t stop = std::min(end, chunk_end(chunk));
    if (begin != starts_[chunk] || stop != chunk_end(chunk)) {
      if (!answer.takes(stop - begin)) return false;
      render(form, begin, stop, pending);
    } else {
      const std::shared_ptr<const std::string> bytes = rendered(form, chunk, answer);
      if (bytes == nullptr) return false;
      if (bytes->size() <= kCopiedBytesMax) {
        pending += *bytes;
      } else {
        if (!pending.empty()) answer.body.append(std::exchange(pending, {}));
        answer.body.append(bytes);
      }
    }
    begin = stop;
  }
  return true;
}

std::optional<RenderedBody> NativeRefSnapshot::ls_refs(const LsRefsRequest& request,
                                                       Effort effort) const {
  if (effort == Effort::small && request.prefixes.size() > kSmallPrefixesMax) return std::nullopt;
  Answer answer;
  answer.effort = effort;
  std::string& pending = answer.pending;
  const std::vector<std::string_view> prefixes = disjoint(request.prefixes);
  const bool all = request.prefixes.empty();
  const bool with_head = all || std::ranges::any_of(prefixes, [](std::string_view prefix) {
                           return std::string_view("HEAD").starts_with(prefix);
                         });
  const bool head_hidden =
      (head_hidden_ & (1U << static_cast<unsigned>(Service::upload_pack))) != 0;
  if (with_head && !head_hidden) {
    std::string tail;
    if (request.symrefs && !head_.target.empty()) tail = " symref-target:" + head_.target;
    if (head_.id.bytes != 0) {
      if (request.peel && head_.peeled.bytes != 0) tail += " peeled:" + head_.peeled.to_hex();
      append_line(pending, head_.id.to_hex(), "HEAD", tail);
    } else if (request.unborn && request.symrefs && !head_.target.empty()) {
      append_line(pending, "unborn", "HEAD", tail);
    }
  }
  const auto form =
      static_cast<Form>((request.peel ? kPeel : kPlain) | (request.symrefs ? kSymrefs : kPlain));
  if (all && !emit(form, 0, lines_.size(), answer)) return std::nullopt;
  for (const std::string_view prefix : prefixes) {
    const std::size_t begin = lower_bound(prefix);
    std::size_t end = lines_.size();
    for (std::size_t low = begin; low < end;) {
      const std::size_t middle = low + (end - low) / 2;
      if (name(middle).starts_with(prefix)) {
        low = middle + 1;
      } else {
        end = middle;
      }
    }
    if (!emit(form, begin, end, answer)) return std::nullopt;
  }
  append_flush(pending);
  answer.body.append(std::move(pending));
  return std::move(answer.body);
}

std::string NativeRefSnapshot::capabilities(Service service,
                                            const AdvertisementOptions& options) const {
  std::string text;
  if (service == Service::upload_pack) {
    // Wants of any visible object are checked by us, whatever uploadpack.allow* say.
    text =
        "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not "
        "deepen-relative no-progress include-tag multi_ack_detailed allow-tip-sha1-in-want "
        "allow-reachable-sha1-in-want no-done";
    if (head_.id.bytes != 0 && !head_.target.empty()) text += " symref=HEAD:" + head_.target;
    if (config_->allow_filter) text += " filter";
    if (!options.session_id.empty()) text.append(" session-id=").append(options.session_id);
  } else {
    text = "report-status report-status-v2 delete-refs side-band-64k quiet";
    if (config_->advertise_atomic) text += " atomic";
    if (config_->prefer_ofs_delta) text += " ofs-delta";
    if (!options.push_cert_nonce.empty())
      text.append(" push-cert=").append(options.push_cert_nonce);
    if (config_->advertise_push_options) text += " push-options";
    if (!options.session_id.empty()) text.append(" session-id=").append(options.session_id);
  }
  text.append(" object-format=").append(format_name(format()));
  text.append(" agent=").append(options.agent);
  return text;
}

std::optional<RenderedBody> NativeRefSnapshot::advertisement(Service service, int protocol_version,
                                                             const AdvertisementOptions& options,
                                                             Effort effort) const {
  Answer answer;
  answer.effort = effort;
  std::string& pending = answer.pending;
  const bool fetch = service == Service::upload_pack;
  if (fetch && protocol_version == 2) {
    answer.body.append(render_v2_capabilities(*config_, options));
    return std::move(answer.body);
  }
  append_pkt(pending, "# service=" + std::string(service_name(service)) + "\n");
  append_flush(pending);
  if (protocol_version == 1) append_pkt(pending, "version 1\n");

  const std::string tail = '\0' + capabilities(service, options);
  const Form form = fetch ? kUploadPack : kReceivePack;
  std::size_t begin = 0;
  if (fetch && head_visible(service)) {
    append_line(pending, head_.id.to_hex(), "HEAD", tail);
    if (head_.peeled.bytes != 0) append_line(pending, head_.peeled.to_hex(), "HEAD^{}");
  } else {
    while (begin < lines_.size() && hidden(begin, service)) ++begin;
    if (begin < lines_.size()) {
      // The first ref carries the capabilities.
      const RefLine ref = line(begin++);
      append_line(pending, ref.hex, ref.name, tail);
      if (fetch && !ref.peeled_hex.empty()) {
        append_line(pending, ref.peeled_hex, ref.name, "^{}");
      }
    } else {
      // git 2.39 leaves this line out for fetches, later versions send it: it tells the hash.
      append_line(pending, std::string(packed_->hex_bytes(), '0'), "capabilities^{}", tail);
    }
  }
  if (!emit(form, begin, lines_.size(), answer)) return std::nullopt;
  for (const std::string& id : shallow_) append_pkt(pending, "shallow " + id + "\n");
  append_flush(pending);
  answer.body.append(std::move(pending));
  return std::move(answer.body);
}

std::string render_v2_capabilities(const RepositoryConfig& config,
                                   const AdvertisementOptions& options) {
  std::string out;
  append_pkt(out, "version 2\n");
  append_pkt(out, "agent=" + std::string(options.agent) + "\n");
  append_pkt(out, "ls-refs=unborn\n");
  append_pkt(out, config.allow_filter ? "fetch=shallow wait-for-done filter\n"
                                      : "fetch=shallow wait-for-done\n");
  append_pkt(out, "server-option\n");
  append_pkt(out, config.sha256 ? "object-format=sha256\n" : "object-format=sha1\n");
  if (!options.session_id.empty()) {
    append_pkt(out, "session-id=" + std::string(options.session_id) + "\n");
  }
  append_flush(out);
  return out;
}

}  // namespace weir::git
