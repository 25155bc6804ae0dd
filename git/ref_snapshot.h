#pragma once
// RefSnapshot: every ref of a repository at one moment: sorted, peeled, with HEAD and the
// configuration it was read under. Immutable; shared by all loops and requests (shared_ptr<const
// RefSnapshot>). Size: the packed-refs file is kept as read plus ~64 bytes a ref; rendered chunks
// are made once, on first use, and shared. Formats: gitprotocol-v2(5) "ls-refs",
// gitprotocol-pack(5) "Reference Discovery", gitrepository-layout(5). How refs are read and kept
// valid: ref_store.h.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "git/object_id.h"
#include "git/rendered_body.h"
#include "git/repository.h"
#include "io/blocking_pool.h"

namespace weir::git {

enum class Service : std::uint8_t { upload_pack, receive_pack };
constexpr std::string_view service_name(Service service) {
  return service == Service::upload_pack ? "git-upload-pack" : "git-receive-pack";
}

// How much may be rendered for one answer. Small: about half a millisecond's work and no waiting
// for another thread; nullopt if that is not enough.
enum class Effort : std::uint8_t { small, whole };

struct Ref {
  std::string_view name;  // full name, "refs/heads/main"
  ObjectId id;
  ObjectId peeled;  // of an annotated tag: what it points at in the end; else null (bytes 0)
  std::string_view symref_target;  // "" unless the ref is symbolic
  std::uint8_t hidden = 0;         // bit (1 << Service): hidden from that service
  bool hidden_from(Service service) const {
    return (hidden & (1U << static_cast<unsigned>(service))) != 0;
  }
};

struct LsRefsRequest {
  bool peel = false;
  bool symrefs = false;
  bool unborn = false;
  std::vector<std::string> prefixes;  // empty: all refs
};

// Capability line material that the snapshot does not know. Both strings are single tokens lists.
struct AdvertisementOptions {
  std::string_view agent;            // "weir/0.1.0"
  std::string_view push_cert_nonce;  // receive-pack only; "" = not advertised
  std::string_view session_id;       // "" = not advertised
};

class RefSnapshot {
 public:
  virtual ~RefSnapshot() = default;

  virtual const RepositoryConfig& config() const = 0;
  ObjectFormat format() const {
    return config().sha256 ? ObjectFormat::sha256 : ObjectFormat::sha1;
  }
  // Changes with every change of the refs; persisted; never lower than before, also after kill -9.
  virtual std::uint64_t repository_generation() const = 0;
  // SHA-256 over names, ids and HEAD: equal iff the refs are equal. Lower-case hex, 64 digits.
  virtual std::string_view digest() const = 0;

  // HEAD: its symbolic target ("" if detached) and its object (null id if unborn).
  virtual std::string_view head_target() const = 0;
  virtual ObjectId head_id() const = 0;
  virtual std::size_t size() const = 0;
  // In byte order of names; index < size().
  virtual Ref at(std::size_t index) const = 0;
  virtual std::optional<Ref> find(std::string_view name) const = 0;
  // True if `id` is what a ref visible to `service` points at, or HEAD, or such a ref's peeled
  // value.
  virtual bool advertises(const ObjectId& id, Service service) const = 0;

  // Complete bodies. The service banner ("# service=...") of a v0/v1 advertisement is included.
  // With a whole effort never nullopt.
  virtual std::optional<RenderedBody> ls_refs(const LsRefsRequest& request,
                                              Effort effort) const = 0;
  virtual std::optional<RenderedBody> advertisement(Service service, int protocol_version,
                                                    const AdvertisementOptions& options,
                                                    Effort effort) const = 0;
  RenderedBody ls_refs(const LsRefsRequest& request) const {
    return *ls_refs(request, Effort::whole);
  }
  RenderedBody advertisement(Service service, int protocol_version,
                             const AdvertisementOptions& options) const {
    return *advertisement(service, protocol_version, options, Effort::whole);
  }
};

// A body that a snapshot renders (by `render`, which takes an Effort): here if that is a small
// matter, else on the pool, as the first answer of its form from half a million refs takes 20 ms.
template <typename Render>
io::Task<io::Result<RenderedBody>> rendered_off_loop(io::BlockingPool& pool, Render render) {
  if (std::optional<RenderedBody> body = render(Effort::small)) co_return std::move(*body);
  auto rendering = pool.run([&render] { return *render(Effort::whole); });
  co_return co_await std::move(rendering);
}

// The v2 capability advertisement ("version 2" ... flush) for a repository with that configuration.
std::string render_v2_capabilities(const RepositoryConfig& config,
                                   const AdvertisementOptions& options);

}  // namespace weir::git
