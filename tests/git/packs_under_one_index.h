#pragma once
// A repository of several packs that repeat some objects, with other bases for their deltas, and
// its store as a planner opens it.

#include <initializer_list>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "git/object_store.h"
#include "git/repository_files.h"
#include "io/file_mapping.h"
#include "tests/git/chunk_file.h"
#include "tests/git/scratch_repository.h"

namespace weir::git {

class PacksUnderOneIndex : public ScratchRepository {
 public:
  PacksUnderOneIndex() {
    static const PacksUnderOneIndex made({12, 6, 3});
    run("cp -a " + made.folder() + "/. " + folder() + " && git -C " + work() +
        " remote set-url origin " + path());
  }

  // Commits that change a little of large files, pushed as a thin pack, which is kept with the
  // bases it lacked.
  void change(int commits) {
    run("cd " + work() + " && for i in $(seq " + std::to_string(commits) +
        "); do for f in a b c; do (seq 2000; cat $f 2>/dev/null | tail -n 5; echo $i $f) > n; "
        "mv n $f; done; mkdir -p d; git rev-parse -q --verify HEAD > d/$i; git add -A; git commit "
        "-qm \"change $i\"; done; "
        "git push -q origin HEAD:main");
  }
  // Once more in a pack of their own, which finds other deltas among fewer objects.
  void repeat_objects(const std::string& revision) const {
    git("rev-list --objects " + revision + " > " + folder() + "/list");
    run("git -C " + path() + " pack-objects -q --no-reuse-delta " + path() +
        "/objects/pack/pack < " + folder() + "/list");
  }
  std::string work() const { return folder() + "/work"; }
  static constexpr const char* kIndex = "objects/pack/multi-pack-index";

  ChunkFile index_file() const { return ChunkFile::of(read(kIndex), 12); }
  void replace_index(const ChunkFile& file) const {
    run("rm -f " + path() + "/" + kIndex);
    write(kIndex, file.bytes().str());
  }
  std::vector<ObjectId> all_objects() const {
    std::vector<ObjectId> ids;
    std::istringstream lines(git("cat-file --batch-all-objects --batch-check='%(objectname)'"));
    for (std::string line; std::getline(lines, line);) ids.push_back(*ObjectId::from_hex(line));
    return ids;
  }
  ObjectId id(const std::string& name) const {
    return *ObjectId::from_hex(git("rev-parse " + name));
  }

 private:
  explicit PacksUnderOneIndex(std::initializer_list<int> pushes) {
    run("git init -q -b main " + work() + " && git -C " + work() + " remote add origin " + path());
    git("config receive.unpackLimit 1");
    for (const int commits : pushes) {
      change(commits);
      repeat_objects("main~2");
    }
  }
};

// What a planner makes of the files that are there now.
struct OpenedStore {
  std::shared_ptr<const RepositoryFiles> opened;
  std::vector<MappedRepositoryFile> files;
  std::unique_ptr<ObjectStore> store;

  explicit OpenedStore(const ScratchRepository& repository) {
    const std::vector<std::string> roots{"/"};
    opened = RepositoryFiles::open(*repository.repository(), ObjectFormat::sha1, nullptr, roots)
                 .value_or(nullptr);
    if (opened == nullptr) std::abort();
    for (std::size_t i = 0; i < opened->files().size(); ++i) {
      files.push_back({opened->files()[i], std::move(*io::FileMapping::open(opened->fd(i)))});
    }
    store = std::move(*ObjectStore::open(files, ObjectFormat::sha1));
  }
  const std::string& pack_name(ObjectNumber number) const {
    return files[store->place(number).stored->file].file.name;
  }
};

}  // namespace weir::git
