#include "server/admission.h"

#include <gtest/gtest.h>

#include <vector>

namespace weir::server {
namespace {

std::int64_t metric(const char* family, const char* labels = "") {
  return io::Metrics::instance().value(family, labels);
}

TEST(AdmissionDoor, admits_up_to_its_bound_and_counts_the_rest) {
  AdmissionDoor door(2);
  const std::int64_t refused = metric("weir_admission_refused_total", "reason=\"in_flight\"");
  const std::int64_t before = metric("weir_requests_in_flight");
  std::vector<AdmissionDoor::Ticket> tickets;
  for (int i = 0; i < 2; ++i) {
    auto ticket = door.admit();
    ASSERT_TRUE(ticket.has_value());
    tickets.push_back(std::move(*ticket));
  }
  EXPECT_FALSE(door.admit().has_value());
  EXPECT_FALSE(door.admit().has_value());
  EXPECT_EQ(metric("weir_requests_in_flight") - before, 2);
  EXPECT_EQ(metric("weir_admission_refused_total", "reason=\"in_flight\"") - refused, 2);
  tickets.pop_back();
  EXPECT_TRUE(door.admit().has_value());
}

TEST(AdmissionDoor, a_ticket_that_was_moved_settles_once) {
  AdmissionDoor door(1);
  const std::int64_t before = metric("weir_requests_in_flight");
  {
    auto ticket = door.admit();
    ASSERT_TRUE(ticket.has_value());
    const AdmissionDoor::Ticket moved = std::move(*ticket);
    EXPECT_EQ(metric("weir_requests_in_flight") - before, 1);
  }
  EXPECT_EQ(metric("weir_requests_in_flight"), before);
  EXPECT_TRUE(door.admit().has_value());
}

}  // namespace
}  // namespace weir::server
