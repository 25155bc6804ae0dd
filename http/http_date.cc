#include "http/http_date.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace weir::http {
namespace {

constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct Cache {
  std::int64_t second = -1;
  std::array<char, 64> text{};
  std::size_t size = 0;
};

thread_local Cache cache;

}  // namespace

std::string_view http_date(std::int64_t unix_ns) {
  const std::int64_t second = unix_ns / 1'000'000'000;
  if (second != cache.second) {
    const std::time_t time = second;
    std::tm utc{};
    gmtime_r(&time, &utc);
    const int size =
        std::snprintf(cache.text.data(), cache.text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                      kDays[static_cast<std::size_t>(utc.tm_wday)], utc.tm_mday,
                      kMonths[static_cast<std::size_t>(utc.tm_mon)], utc.tm_year + 1900,
                      utc.tm_hour, utc.tm_min, utc.tm_sec);
    cache.size = static_cast<std::size_t>(size);
    cache.second = second;
  }
  return {cache.text.data(), cache.size};
}

}  // namespace weir::http
