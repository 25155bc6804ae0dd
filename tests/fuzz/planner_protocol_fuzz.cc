// Replies of a planner that was taken over, and requests of any bytes.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "git/planner_protocol.h"
#include "io/check.h"

namespace git = weir::git;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  static const std::vector<git::RepositoryFile> kFiles = {
      {.role = git::FileRole::pack, .name = "pack-a", .bytes = 1000},
      {.role = git::FileRole::pack_index, .name = "pack-a", .bytes = 1000}};
  static const std::vector<git::ObjectId> kNamed = {*git::ObjectId::from_hex(std::string(40, 'b')),
                                                    *git::ObjectId::from_hex(std::string(40, 'c')),
                                                    *git::ObjectId::from_hex(std::string(40, 'd'))};
  static const git::PlanRequest kAsked = {
      .wants = {}, .haves = kNamed, .shallows = kNamed, .depth = 3};
  const std::string_view body(reinterpret_cast<const char*>(data), bytes);
  const auto reply = git::decode_reply(
      body,
      {.id = 3, .view = 7, .format = git::ObjectFormat::sha1, .files = kFiles, .request = kAsked});
  if (reply) {
    WEIR_CHECK(git::encode(*reply) == body);
    git::Recipe::Cursor cursor(reply->plan.recipe);
    for (git::RecipePiece piece; cursor.next(piece);) {
      WEIR_CHECK(piece.file == 0 || piece.file == git::RecipePiece::kLiteral);
    }
  }
  git::PlannerRequest request;
  if (git::decode(body, request)) WEIR_CHECK(git::encode(request) == body);
  return 0;
}
