#pragma once
// Repository: where one repository lives on disk and what it is called. Immutable after the locate
// stage made it; shared by requests and caches (shared_ptr<const Repository>).

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace weir::git {

// Opaque, never reused after delete and create: every cache keys on it.
struct RepositoryId {
  std::array<std::uint8_t, 16> bytes{};
  friend bool operator==(const RepositoryId&, const RepositoryId&) = default;
  std::string to_hex() const;
};

struct RepositoryIdHash {
  std::size_t operator()(const RepositoryId& id) const {
    std::size_t value;
    std::memcpy(&value, id.bytes.data(), sizeof value);
    return value;
  }
};

struct Repository {
  RepositoryId id;
  std::string name;        // "<tenant>/<path>" as asked for, decoded: for logs and error texts
  std::string git_dir;     // absolute, real path of the folder that holds HEAD
  std::string common_dir;  // absolute, real path of the folder that holds objects and refs
};

// What a command that changes the repository writes to: its folders, and its work tree if it has
// one around it.
std::vector<std::string> writable_folders(const Repository& repository);

// What a repository's configuration says, as far as serving it is concerned. Read in a worker
// (libgit2), together with the refs: a RefSnapshot carries the one it was made under.
struct RepositoryConfig {
  bool sha256 = false;
  bool reftable = false;
  bool bare = true;
  // Patterns as in git-config(1) transfer.hideRefs, in file order, with their '!' and '^' prefixes.
  std::vector<std::string> hide_refs_fetch;  // transfer.* then uploadpack.*
  std::vector<std::string> hide_refs_push;   // transfer.* then receive.*
  bool http_upload_pack = true;              // http.uploadpack
  bool http_receive_pack = true;             // http.receivepack; false only when it is set to false
  bool allow_filter = true;                  // uploadpack.allowFilter; Weir's default is true
  bool allow_any_sha1_in_want = false;
  bool advertise_atomic = true;        // receive.advertiseAtomic
  bool advertise_push_options = true;  // receive.advertisePushOptions; Weir's default is true
  bool prefer_ofs_delta = true;        // repack.useDeltaBaseOffset
  bool has_alternates = false;
  // The files it was read from, included ones too: what its validity depends on.
  std::vector<std::string> files;
};

}  // namespace weir::git
