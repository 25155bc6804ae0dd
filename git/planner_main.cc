// The planner's process. Before the first message it gives up whatever it will not need: opening
// files, sockets, programs. What the kernel has and refuses ends it.

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <utility>

#include "git/planner_pool.h"
#include "git/planner_service.h"
#include "git/repository_view.h"
#include "io/child_sandbox.h"
#include "io/digest.h"
#include "io/syscall_filter.h"

namespace weir::git {
namespace {

constexpr int kSocket = 3;

class RepositoryPlanningView final : public PlanningView {
 public:
  explicit RepositoryPlanningView(std::unique_ptr<RepositoryView> view) : view_(std::move(view)) {}
  PlanReply plan(const PlanRequest& request, const VisibleTips& visible) override {
    return view_->plan(request, visible);
  }

 private:
  std::unique_ptr<RepositoryView> view_;
};

io::Result<std::unique_ptr<PlanningView>> open_view(std::vector<MappedRepositoryFile> files,
                                                    ObjectFormat format) {
  auto view = RepositoryView::open(std::move(files), format);
  if (!view) return std::unexpected(view.error());
  return std::make_unique<RepositoryPlanningView>(std::move(*view));
}

// Resident and not shared with a file, from /proc/self/statm; 0: not known.
std::uint64_t memory_bytes(int statm) {
  char text[128];
  const ssize_t n = ::pread(statm, text, sizeof text, 0);
  std::uint64_t pages[3] = {};  // size, resident, shared
  const char* at = text;
  const char* const end = text + std::max<ssize_t>(n, 0);
  for (std::uint64_t& value : pages) {
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc()) return 0;
    at = std::min(next + 1, end);
  }
  return (pages[1] - pages[2]) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

io::Result<void> narrow() {
  // What the library sets up on first use it reads from files.
  (void)io::sha1("");
  (void)io::sha256("");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return io::fail_errno("no_new_privs");
  if (auto closed = io::restrict_all_files(); !closed) return closed;
  if (io::kSanitized || !io::SyscallFilter::available()) return {};
  const auto filter = io::SyscallFilter::for_computing();
  if (!filter) return std::unexpected(filter.error());
  const int refused = filter->put_on_all_threads();
  if (refused != 0) return io::fail(io::Errc::system, "seccomp", refused);
  return {};
}

}  // namespace

int planner_main() {
  const io::UniqueFd statm(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
  if (const auto narrowed = narrow(); !narrowed) {
    std::fprintf(stderr, "weir git-planner: %s\n", io::to_string(narrowed.error()).c_str());
    return 1;
  }
  PlannerService service(open_view, [fd = statm.get()] { return memory_bytes(fd); });
  return service.serve(kSocket);
}

}  // namespace weir::git
