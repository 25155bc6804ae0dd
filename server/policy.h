#pragma once
// Policy: everything a reload can change, as one immutable value: who may do what, certificates,
// rules about client addresses. Loops hold the current one; requests in flight keep the one they
// began with.

#include <memory>

#include "io/tls_context.h"
#include "server/authenticator.h"
#include "server/authorizer.h"
#include "server/client_address.h"
#include "server/config.h"

namespace weir::server {

struct Policy {
  Config config;
  Authorizer authorizer;
  std::shared_ptr<io::TlsContext> tls;
  Networks proxy_protocol_networks;
  Networks forwarded_for_networks;
};

}  // namespace weir::server
