#pragma once
// From a snapshot of refs to what a planner is told of them: the tips that upload-pack shows, HEAD,
// and annotated tags with what they peel to. The digest covers what is listed, not the names: a
// change of what is hidden changes it, too. Takes ~100 ns a ref: off the loop beyond a few. Pure.

#include "git/fetch_plan.h"
#include "git/ref_snapshot.h"

namespace weir::git {

VisibleTips visible_to_fetches(const RefSnapshot& snapshot);

}  // namespace weir::git
