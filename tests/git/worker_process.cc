// `weir git-worker --git PATH`, alone: what the tests of the pool start.

#include <string_view>

#include "git/worker_pool.h"

int main(int argc, char** argv) {
  if (argc != 4 || std::string_view(argv[1]) != "git-worker") return 2;
  return weir::git::worker_main(argv[3]);
}
