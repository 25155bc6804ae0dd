#include "server/pipeline.h"

#include <utility>

#include "io/log.h"
#include "server/answer.h"
#include "server/request_id.h"
#include "server/request_log.h"

namespace weir::server {
namespace {

Access access_of(const Route& route) {
  return route.service == git::Service::receive_pack ? Access::push : Access::read;
}

RequestClass class_of(const Route& route) {
  if (route.kind != RouteKind::git_service) return RequestClass::light;
  return route.service == git::Service::receive_pack ? RequestClass::push : RequestClass::fetch;
}

// "site.git" and "site" are one repository: rules name it without the suffix.
std::string rule_name(const Route& route) {
  std::string name = route.tenant + "/" + route.path;
  if (name.ends_with(".git")) name.resize(name.size() - 4);
  return name;
}

// What needs no repository, no rights and no seat.
io::Task<void> answer_plain_route(Request& request) {
  const Route& route = request.route;
  switch (route.kind) {
    case RouteKind::git_dumb:
      request.operation = "dumb";
      request.decision = "dumb_http";
      return answer_text(request, 403,
                         "the dumb HTTP protocol is not served; please use a Git client of version "
                         "1.6.6 or newer");
    case RouteKind::git_lfs:
      request.operation = "lfs";
      request.decision = "no_lfs";
      return answer_lfs(request, 404, "weir: Git LFS is not served here");
    case RouteKind::unknown_service:
      request.decision = "unknown_service";
      return answer_text(request, 403, "this service is not offered");
    case RouteKind::wrong_method: {
      request.decision = "wrong_method";
      Fields fields;
      fields.emplace_back("allow", route.allow);
      return answer_text(request, 405, "this method is not allowed here", std::move(fields));
    }
    case RouteKind::bad_path:
      request.decision = "bad_path";
      return answer_text(request, 400, std::string(route.problem));
    case RouteKind::reserved:
    case RouteKind::not_found:
    case RouteKind::git_info_refs:
    case RouteKind::git_service:
      break;
  }
  request.decision = "no_route";
  return answer_text(request, 404,
                     "this is a Git server, for git clone and push; repositories are at "
                     "/<tenant>/<path>.git");
}

bool needs_repository(const Route& route) {
  return route.kind == RouteKind::git_info_refs || route.kind == RouteKind::git_service;
}

}  // namespace

Pipeline::Pipeline(io::EventLoop& loop, SharedStages shared, git::GitEnvironment environment,
                   std::shared_ptr<const Policy> policy)
    : loop_(loop),
      shared_(shared),
      environment_(std::move(environment)),
      policy_(std::move(policy)) {}

void Pipeline::on_exchange(http::Exchange& exchange) {
  scope_.spawn(serve(exchange));
}

// Of every route: a client chooses its target, so a larger limit for some would be one for all.
http::HeadLimits Pipeline::head_limits(std::string_view, std::string_view) {
  return http::kHeadLimitsDefault;
}

void Pipeline::on_refused(const io::StreamInfo& peer, int status, std::string_view reason) {
  shared_.metrics.count_refused_below();
  if (!policy_->config.log.requests) return;
  io::log_record(render_refused_record(peer.peer_address, status, reason, loop_.index(),
                                       shared_.clock.unix_ns()));
}

void Pipeline::set_policy(std::shared_ptr<const Policy> policy) {
  policy_ = std::move(policy);
  sessions_.clear();
  verified_.clear();
}

void Pipeline::housekeeping() {
  sessions_.expire(loop_.now());
}

io::Task<void> Pipeline::serve(http::Exchange& exchange) {
  const std::shared_ptr<const Policy> policy = policy_;
  {
    Request request(exchange);
    request.phase_began = exchange.arrived_at();
    request.id = make_request_id(shared_.clock);
    request.trace =
        TraceContext::continue_or_start(exchange.head().field("traceparent").value_or(""));
    request.client_address = client_address(exchange.peer().peer_address, exchange.head(),
                                            policy->forwarded_for_networks);
    request.route = classify(exchange.head());
    request.live.id = request.id;
    request.live.tenant = mask_tokens(request.route.tenant);
    request.live.repository = mask_tokens(request.route.path);
    request.live.operation = request.route.kind == RouteKind::git_service
                                 ? git::service_name(request.route.service)
                                 : "info-refs";
    request.live.of_class = class_of(request.route);
    request.live.exchange = &exchange;
    request.live.arrived_at = exchange.arrived_at();
    live_.enter(request.live);
    co_await answer(request, policy);
    live_.leave(request.live);
    record(request);
  }
  exchange.release();
}

io::Task<void> Pipeline::answer(Request& request, std::shared_ptr<const Policy> policy) {
  if (!needs_repository(request.route)) {
    co_await answer_plain_route(request);
    co_return;
  }
  request.operation = request.route.kind == RouteKind::git_info_refs ? "info-refs" : "other";
  const bool identified = co_await identify(request, *policy);
  request.phase_ends(Phase::identify, loop_.now());
  if (!identified) co_return;
  std::optional<AdmissionDoor::Ticket> ticket = shared_.admission.admit();
  if (!ticket) {
    request.decision = "too_many_requests";
    Fields fields;
    fields.emplace_back("retry-after", std::to_string(AdmissionDoor::kRetryAfterSeconds));
    co_await answer_text(request, 429, "this server has too many requests in flight",
                         std::move(fields));
    co_return;
  }
  const bool located = co_await locate(request, *policy);
  request.phase_ends(Phase::locate, loop_.now());
  if (!located) co_return;
  if (request.route.kind == RouteKind::git_info_refs) {
    co_await git_info_refs(request);
  } else {
    co_await git_service(request, policy);
  }
  request.phase_ends(Phase::serve, loop_.now());
}

io::Task<bool> Pipeline::identify(Request& request, const Policy& policy) {
  Authentication found = co_await shared_.authenticator.authenticate(
      request.exchange.head().field("authorization").value_or(""), request.client_address,
      verified_);
  switch (found.status) {
    case AuthStatus::anonymous:
    case AuthStatus::known:
      break;
    case AuthStatus::wrong: {
      request.decision = "wrong_credentials";
      Fields fields;
      fields.emplace_back("www-authenticate", "Basic realm=\"" + policy.authorizer.realm() + "\"");
      co_await answer_text(request, 401, "these credentials are not valid", std::move(fields));
      co_return false;
    }
    case AuthStatus::damped: {
      request.decision = "too_many_wrong_credentials";
      Fields fields;
      fields.emplace_back("retry-after", std::to_string(found.retry_after_s));
      co_await answer_text(request, 429, "too many wrong credentials came from your address",
                           std::move(fields));
      co_return false;
    }
    case AuthStatus::unavailable: {
      request.decision = "identity_unavailable";
      Fields fields;
      fields.emplace_back("retry-after", std::to_string(AdmissionDoor::kRetryAfterSeconds));
      co_await answer_text(request, 503, "credentials cannot be checked at the moment",
                           std::move(fields));
      co_return false;
    }
  }
  request.principal = std::move(found.principal);
  if (!request.principal.anonymous()) {
    live_.update([&] { request.live.principal = request.principal.subject; });
  }
  const Authorization verdict =
      policy.authorizer.authorize(request.principal, request.route.tenant, rule_name(request.route),
                                  access_of(request.route), true);
  if (verdict != Authorization::allowed) {
    request.detail = "no right to this name";  // whether it exists was not looked at
    co_await answer_unauthorized(request, verdict, policy);
    co_return false;
  }
  co_return true;
}

io::Task<bool> Pipeline::locate(Request& request, const Policy& policy) {
  const io::Result<Location> location = co_await shared_.locator.locate(
      request.route.tenant, request.route.path, request.exchange.arrived_at());
  if (!location) {
    request.decision = "storage_unavailable";
    request.detail = io::to_string(location.error());
    co_await answer_text(request, 503, "repositories cannot be reached at the moment");
    co_return false;
  }
  if (location->kind == RepositoryKind::git) {
    request.repository = location->repository;
    co_return true;
  }
  if (location->kind == RepositoryKind::mercurial) {
    request.decision = "other_system";
    co_await answer_text(request, 404, "this is a Mercurial repository; please use hg");
    co_return false;
  }
  const Authorization verdict =
      policy.authorizer.authorize(request.principal, request.route.tenant, rule_name(request.route),
                                  access_of(request.route), false);
  request.detail = "no such repository";
  co_await answer_unauthorized(request, verdict, policy);
  co_return false;
}

io::Task<void> Pipeline::answer_unauthorized(Request& request, Authorization why,
                                             const Policy& policy) {
  switch (why) {
    case Authorization::ask_credentials: {
      request.decision = "ask_credentials";
      Fields fields;
      fields.emplace_back("www-authenticate", "Basic realm=\"" + policy.authorizer.realm() + "\"");
      return answer_text(request, 401, "please give a token as the password", std::move(fields));
    }
    case Authorization::read_only:
      request.decision = "no_push_right";
      return answer_text(
          request, 403,
          "you may read this repository but not push to it as " + request.principal.subject);
    case Authorization::allowed:
    case Authorization::hidden:
      break;
  }
  request.decision = "unknown_repository";
  return answer_text(request, 404, "repository not found, or you may not read it");
}

void Pipeline::record(Request& request) {
  const io::Instant now = shared_.clock.now();
  shared_.metrics.count(request, now - request.exchange.arrived_at());
  if (!policy_->config.log.requests) return;
  io::log_record(render_request_record(request, loop_.index(), now, shared_.clock.unix_ns()));
}

}  // namespace weir::server
