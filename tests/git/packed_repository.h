#pragma once
// A repository whose objects are in one pack, with deltas, and that pack's files; or packs and
// indexes made by hand, to be broken.

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "git/pack.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {

inline std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

struct PackBytes {
  std::string pack;
  std::string index;
  std::string reverse_index;

  PackFiles files() const { return {bytes_of(pack), bytes_of(index), bytes_of(reverse_index)}; }
};

class PackedRepository {
 public:
  // `options`: of git, for its repack: "-c pack.indexVersion=1".
  PackedRepository(ObjectFormat format, const std::string& options, int commits = 30)
      : scratch("--object-format=" + std::string(format_name(format))) {
    std::string stream;
    for (int i = 0; i < commits; ++i) {
      std::string text;
      for (int line = 0; line < 60; ++line) {
        const int version = line % commits <= i ? i - (i - line) % 7 : 0;
        text += "line " + std::to_string(line * 7919) + " of " + std::to_string(version) + "\n";
      }
      stream += "commit refs/heads/main\ncommitter a <a@b> " + std::to_string(1700000000 + i) +
                " +0000\ndata 1\n" + "mM 100644 inline folder/text\ndata " +
                std::to_string(text.size()) + "\n" + text + "\nM 100644 inline number\ndata " +
                std::to_string(std::to_string(i).size()) + "\n" + std::to_string(i) + "\n";
    }
    stream += "M 100644 inline empty\ndata 0\n\n";
    stream += "tag v1\nfrom refs/heads/main\ntagger a <a@b> 1700000000 +0000\ndata 1\nx\n";
    scratch.git("fast-import --quiet", stream);
    repack(options);
  }
  void repack(const std::string& options) {
    scratch.git(options + " repack -q -a -d -f --depth=10 --window=20");
    for (const auto& file : std::filesystem::directory_iterator(scratch.path() + "/objects/pack")) {
      const std::string name = "objects/pack/" + file.path().filename().string();
      if (name.ends_with(".pack"))
        pack_path = file.path().string(), files.pack = scratch.read(name);
      if (name.ends_with(".idx")) files.index = scratch.read(name);
      if (name.ends_with(".rev")) files.reverse_index = scratch.read(name);
    }
  }

  ScratchRepository scratch;
  std::string pack_path;
  PackBytes files;
};

}  // namespace weir::git
