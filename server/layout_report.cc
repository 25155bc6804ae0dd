#include "server/layout_report.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "git/maintenance_plan.h"
#include "server/repository_lookup.h"
#include "server/router.h"

namespace weir::server {
namespace {

// As for a fetch of it: with the same names refused.
Route route_to(std::string_view name) {
  http::RequestHead head;
  head.method = http::Method::get;
  head.storage = "/" + std::string(name) + "/info/refs";
  head.path = head.storage;
  head.query = "service=git-upload-pack";
  return classify(head);
}

}  // namespace

io::Result<std::string> layout_json(const std::string& root, std::string_view name) {
  const Route route = route_to(name);
  if (route.kind != RouteKind::git_info_refs) return io::fail(io::Errc::not_found, "name");
  const auto found = look_up_repository(root, route.tenant, route.path);
  if (!found) return std::unexpected(found.error());
  if (found->location.repository == nullptr) return io::fail(io::Errc::not_found, "repository");
  const auto layout = git::read_repository_layout(*found->location.repository, std::time(nullptr));
  if (!layout) return std::unexpected(layout.error());
  const git::MaintenancePlan plan = git::plan_maintenance(*layout);

  nlohmann::ordered_json json;
  json["repository"] = route.tenant + "/" + route.path;
  json["summary"] = git::describe(*layout);
  json["slowed_by"] = plan.slowed_by;
  json["obstacle"] = plan.obstacle;
  json["due"] = nlohmann::ordered_json::array();
  for (const git::PlannedStep& planned : plan.steps) {
    json["due"].push_back({{"step", to_string(planned.step)}, {"reason", planned.reason}});
  }
  json["packs"] = layout->packs;
  json["pack_bytes"] = layout->pack_bytes;
  json["packed_objects"] = layout->packed_objects;
  json["loose_objects"] = layout->loose_objects;
  json["core_objects"] = layout->core_objects;
  json["bitmapped_objects"] = layout->bitmapped_objects;
  json["bitmap_age_s"] = layout->bitmap_age_s;
  json["unreachable_objects"] = layout->cruft_objects;
  json["unreachable_bytes"] = layout->cruft_bytes;
  json["multi_pack_index"] = layout->multi_pack_index;
  json["commit_graph"] = layout->commit_graph;
  json["loose_refs"] = layout->loose_refs;
  json["packed_refs_bytes"] = layout->packed_refs_bytes;
  // Names may hold any bytes.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace weir::server
