#pragma once
// PlannerService: what a planner process does with its messages: keeps the views and tips it was
// sent (kPlannerViewsMax, kPlannerTipsMax, kTipsBytesMax; least recently used leave) and answers
// plans, one at a time. What plans is behind PlanningView, so that tests can put others there. One
// thread; blocks; ends with its socket.

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "git/fetch_plan.h"
#include "git/planner_channel.h"
#include "git/planner_protocol.h"
#include "git/repository_view.h"
#include "io/error.h"

namespace weir::git {

// Of all sets of tips but the one last asked for.
inline constexpr std::size_t kTipsBytesMax = 128UL * 1024 * 1024;

class PlanningView {
 public:
  virtual ~PlanningView() = default;
  virtual PlanReply plan(const PlanRequest& request, const VisibleTips& visible) = 0;
};
using OpenPlanningView = std::function<io::Result<std::unique_ptr<PlanningView>>(
    std::vector<MappedRepositoryFile> files, ObjectFormat format)>;

class PlannerService {
 public:
  // `memory_bytes`: what this process holds, mapped files aside.
  PlannerService(OpenPlanningView open, std::function<std::uint64_t()> memory_bytes)
      : open_(std::move(open)), memory_bytes_(std::move(memory_bytes)) {}

  // Until the other end is closed; the process's exit code.
  int serve(int socket);

 private:
  struct View {
    std::uint64_t number = 0;
    ObjectFormat format = ObjectFormat::sha1;
    std::uint32_t files_total = 0;
    std::vector<MappedRepositoryFile> coming;  // until all are there
    std::unique_ptr<PlanningView> opened;
    std::optional<PlanReply> failure;  // why it could not be opened
  };
  void take(OpenView part, std::vector<io::UniqueFd> descriptors);
  void take(VisibleTips tips);
  void forget(std::uint64_t number);
  PlannerReply answer(const AskPlan& ask);

  const OpenPlanningView open_;
  const std::function<std::uint64_t()> memory_bytes_;
  std::list<View> views_;        // most recently used first
  std::list<VisibleTips> tips_;  // the same
};

}  // namespace weir::git
