// The handlers of smart HTTP: the last stage of Pipeline for Git. Sources: gitprotocol-http(5).

#include <array>
#include <charconv>
#include <utility>

#include "git/ref_snapshot.h"
#include "git/ref_store.h"
#include "git/service_call.h"
#include "io/log.h"
#include "server/answer.h"
#include "server/body_adapters.h"
#include "server/pipeline.h"
#include "server/version.h"

namespace weir::server {
namespace {

constexpr io::Duration kSnapshotTimeMax = std::chrono::seconds(30);
constexpr std::size_t kAnswerFields = 5;

std::string_view advertisement_type(git::Service service) {
  return service == git::Service::upload_pack ? "application/x-git-upload-pack-advertisement"
                                              : "application/x-git-receive-pack-advertisement";
}
std::string_view request_type(git::Service service) {
  return service == git::Service::upload_pack ? "application/x-git-upload-pack-request"
                                              : "application/x-git-receive-pack-request";
}
std::string_view result_type(git::Service service) {
  return service == git::Service::upload_pack ? "application/x-git-upload-pack-result"
                                              : "application/x-git-receive-pack-result";
}

std::string generation_text(const git::RefSnapshot& snapshot) {
  std::string text = std::to_string(snapshot.repository_generation());
  text += '-';
  text += snapshot.digest().substr(0, 16);
  return text;
}

// A media type without its parameters.
std::string_view essence(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (content_type.ends_with(' ')) content_type.remove_suffix(1);
  return content_type;
}

enum class Coding : std::uint8_t { identity, gzip, unknown };

Coding coding_of(const http::RequestHead& head) {
  const std::string_view value = head.field("content-encoding").value_or("");
  if (value.empty() || http::equals_ignoring_case(value, "identity")) return Coding::identity;
  return http::is_gzip_coding(value) ? Coding::gzip : Coding::unknown;
}

}  // namespace

io::Task<std::shared_ptr<const git::RefSnapshot>> Pipeline::validated_snapshot(Request& request) {
  std::string problem;
  const io::Deadline deadline = io::Deadline::after(loop_.now(), kSnapshotTimeMax);
  io::Result<std::shared_ptr<const git::RefSnapshot>> snapshot =
      co_await environment_.refs->snapshot(request.repository, request.exchange.arrived_at(),
                                           *environment_.workers, request.exchange.stop(), deadline,
                                           problem);
  request.phase_ends(Phase::validate, loop_.now());
  if (snapshot) {
    request.repository_generation = (*snapshot)->repository_generation();
    co_return std::move(*snapshot);
  }
  request.decision = "refs_unavailable";
  request.detail = io::to_string(snapshot.error());
  if (!problem.empty()) request.detail += ": " + problem;
  ErrorAnswer error = answer_for(snapshot.error().code);
  if (snapshot.error().code == io::Errc::limit) {
    error.status = 503;  // nothing that the client sent
    if (problem.empty()) problem = "it has more refs, or nested deeper, than this server reads";
  }
  std::string text(error.text);
  if (!problem.empty()) text = "this repository cannot be served: " + problem;
  co_await answer_text(request, error.status, std::move(text));
  co_return nullptr;
}

io::Task<void> Pipeline::git_info_refs(Request& request) {
  const std::shared_ptr<const git::RefSnapshot> snapshot = co_await validated_snapshot(request);
  if (snapshot == nullptr) co_return;
  const git::Service service = request.route.service;
  const bool upload = service == git::Service::upload_pack;
  if (upload ? !snapshot->config().http_upload_pack : !snapshot->config().http_receive_pack) {
    request.decision = "disabled_by_repository";
    co_await answer_text(request, 403,
                         upload ? "reading over HTTP is switched off in this repository"
                                : "pushing over HTTP is switched off in this repository");
    co_return;
  }
  git::AdvertisementOptions options;
  options.agent = git_agent();
  std::string nonce;
  if (!upload) {
    nonce = git::push_cert_nonce(environment_, *request.repository, snapshot->format(),
                                 shared_.clock.unix_ns() / 1'000'000'000);
    options.push_cert_nonce = nonce;
  }
  const int version = upload ? request.route.protocol_version : 0;
  const io::Result<git::RenderedBody> body =
      co_await git::rendered_off_loop(*environment_.blocking, [&](git::Effort effort) {
        return snapshot->advertisement(service, version, options, effort);
      });
  if (!body) {
    request.decision = "busy";
    request.detail = io::to_string(body.error());
    co_await answer_text(request, 503, std::string(answer_for(io::Errc::unavailable).text));
    co_return;
  }
  if (upload) {
    sessions_.remember(request.exchange.connection_id(), request.principal.token_id,
                       request.repository->id, snapshot, loop_.now());
  }
  request.decision = "served";
  Fields fields;
  fields.reserve(kAnswerFields);
  fields.emplace_back("weir-generation", generation_text(*snapshot));
  co_await answer_body(request, advertisement_type(service), *body, std::move(fields));
}

io::Task<void> Pipeline::git_service(Request& request, std::shared_ptr<const Policy> policy) {
  const git::Service service = request.route.service;
  const http::RequestHead& head = request.exchange.head();
  if (essence(head.field("content-type").value_or("")) != request_type(service)) {
    request.decision = "wrong_content_type";
    co_await answer_text(request, 415,
                         "the content type must be " + std::string(request_type(service)));
    co_return;
  }
  const Coding coding = coding_of(head);
  if (coding == Coding::unknown) {
    request.decision = "wrong_content_coding";
    Fields fields;
    fields.emplace_back("accept-encoding", "gzip, x-gzip");
    co_await answer_text(request, 415, "the body's coding must be gzip or none", std::move(fields));
    co_return;
  }
  const std::shared_ptr<const git::RefSnapshot> snapshot = co_await validated_snapshot(request);
  if (snapshot == nullptr) co_return;

  const bool upload = service == git::Service::upload_pack;
  const GitConfig& limits = policy->config.git;
  const io::WriteFlow flow{};
  RequestBody body(request.exchange, request.live, coding == Coding::gzip,
                   upload ? limits.fetch_request_bytes_max : limits.push_bytes_max);
  http::ResponseHead response;
  response.fields.reserve(kAnswerFields);
  append_no_cache(response.fields);
  response.fields.emplace_back("content-type", result_type(service));
  response.fields.emplace_back("weir-generation", generation_text(*snapshot));
  ResponseBody answer(request.exchange, request.live, std::move(response), flow);

  git::ServiceCall call{environment_,
                        request.repository,
                        snapshot,
                        upload ? request.route.protocol_version : 0,

                        request.id,
                        request.trace.traceparent(),
                        request.principal.subject,
                        request.client_address,
                        {},
                        body,
                        answer,
                        request.exchange.stop()};
  call.shown = sessions_.shown(request.exchange.connection_id(), request.principal.token_id,
                               request.repository->id, loop_.now());
  git::ServiceOutcome outcome;
  if (upload) {
    outcome = co_await git::serve_upload_pack(call);
  } else {
    outcome = co_await git::serve_receive_pack(call);
    if (shared_.maintenance != nullptr && outcome.ended == git::Ended::completed) {
      shared_.maintenance->pushed(request.repository, loop_.now());
    }
  }
  request.operation = outcome.operation;
  request.detail = outcome.detail;
  request.plan = outcome.plan;
  request.child_cpu_us = outcome.child_cpu_us;
  request.child_rss_bytes_max = outcome.child_rss_bytes_max;
  request.slot_wait = outcome.slot_wait;
  request.status = 200;
  switch (outcome.ended) {
    case git::Ended::completed:
      request.decision = "served";
      break;
    case git::Ended::refused:
      request.decision = "refused";
      break;
    case git::Ended::client_gone:
      request.decision = "client_gone";
      break;
    case git::Ended::failed:
      request.decision = "failed";
      break;
  }
  if (!answer.committed() && body.error() && !outcome.cut) {
    const io::Error error = *body.error();
    if (error.code != io::Errc::closed && error.code != io::Errc::cancelled) {
      const ErrorAnswer told = answer_for(error.code);
      request.decision = "bad_body";
      co_await answer_text(request, error.code == io::Errc::deadline_exceeded ? 408 : told.status,
                           std::string(told.text));
      co_return;
    }
  }
  if (outcome.cut || outcome.ended == git::Ended::client_gone) {
    request.cut = true;
    if (!answer.committed()) request.status = 0;
    request.exchange.abort();
    co_return;
  }
  if (!answer.committed() && outcome.ended == git::Ended::failed) {
    co_await answer_text(request, 500, "an internal error happened");
    co_return;
  }
  if (!answer.committed()) answer.commit_empty();
  request.exchange.finish();
}

}  // namespace weir::server
