#include "git/fetch_plan.h"

namespace weir::git {

std::string_view reason_name(FallbackReason reason) {
  switch (reason) {
    case FallbackReason::none:
      return "none";
    case FallbackReason::filter:
      return "filter";
    case FallbackReason::shallow:
      return "shallow";
    case FallbackReason::negotiation:
      return "negotiation";
    case FallbackReason::repository:
      return "repository";
    case FallbackReason::layout:
      return "layout";
    case FallbackReason::corrupt:
      return "corrupt";
    case FallbackReason::budget:
      return "budget";
    case FallbackReason::planner:
      return "planner";
  }
  return "";
}

}  // namespace weir::git
