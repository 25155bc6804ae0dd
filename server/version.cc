#include "server/version.h"

namespace weir::server {

std::string_view version() {
  return WEIR_VERSION;
}
std::string_view git_agent() {
  return "weir/" WEIR_VERSION;
}

}  // namespace weir::server
