#include "io/metrics.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

#include "io/check.h"

namespace weir::io {
namespace {

// Segment: a header page, the directory of series (append-only), then one row of cells a thread.
// A process finds its series by name, so that segments written by another build can be read.
constexpr std::uint64_t kMagic = 0x3230'7269'6577'6d00;  // changes with the layout
constexpr std::size_t kSeriesMax = 2048;  // a quarter of the cells: histograms are wide
constexpr std::size_t kHeaderBytes = 4096;
constexpr std::size_t kHistogramCells = Histogram::kBuckets + 1;  // buckets, then the sum in ns
constexpr int kSharedRow =
    kMetricThreadsMax - 1;  // threads beyond the owned rows count here together
static_assert(kMetricThreadsMax == 64, "rows in use are one bit each of a word");

using Cell = std::atomic<std::uint64_t>;
static_assert(Cell::is_always_lock_free && sizeof(Cell) == 8);

struct Series {
  char family[80];
  char labels[120];
  char help[168];
  std::int64_t first_bound_ns;  // of a histogram
  std::uint32_t kind;
  std::uint32_t cell;  // the first of its cells in every row
};
static_assert(sizeof(Series) == 384);

struct Header {
  std::uint64_t magic;
  std::atomic<std::uint32_t> series_count;
};

struct Segment {
  Header* header = nullptr;
  Series* series = nullptr;
  Cell* cells = nullptr;

  explicit Segment(void* base)
      : header(static_cast<Header*>(base)),
        series(reinterpret_cast<Series*>(static_cast<char*>(base) + kHeaderBytes)),
        cells(reinterpret_cast<Cell*>(static_cast<char*>(base) + kHeaderBytes +
                                      kSeriesMax * sizeof(Series))) {}

  std::uint32_t count() const { return header->series_count.load(std::memory_order_acquire); }
  Cell& at(std::size_t row, std::size_t cell) const { return cells[row * kMetricCellsMax + cell]; }
  std::uint64_t sum(std::size_t cell) const {
    std::uint64_t total = 0;
    for (std::size_t row = 0; row < kMetricThreadsMax; ++row) {
      total += at(row, cell).load(std::memory_order_relaxed);
    }
    return total;
  }
};

std::size_t cells_of(MetricKind kind) {
  return kind == MetricKind::histogram ? kHistogramCells : 1;
}
MetricKind kind_of(const Series& series) {
  return static_cast<MetricKind>(series.kind);
}

bool plausible(std::int64_t first_bound_ns) {  // shifted by its number of buckets
  return first_bound_ns >= 0 && first_bound_ns <= Duration(1h).count();
}

// A segment may have been written by another build: what it says is checked before it is used.
bool well_formed(const Segment& segment) {
  if (segment.header->magic != kMagic || segment.count() > kSeriesMax) return false;
  for (std::uint32_t i = 0; i < segment.count(); ++i) {
    const Series& series = segment.series[i];
    if (series.family[sizeof series.family - 1] != 0 ||
        series.labels[sizeof series.labels - 1] != 0 || series.help[sizeof series.help - 1] != 0 ||
        series.kind > 2 || series.cell == 0 || !plausible(series.first_bound_ns) ||
        series.cell > kMetricCellsMax - cells_of(kind_of(series))) {
      return false;
    }
  }
  return true;
}

std::string_view without_total(MetricKind kind, std::string_view family) {
  constexpr std::string_view kTotal = "_total";
  if (kind == MetricKind::counter && family.ends_with(kTotal)) family.remove_suffix(kTotal.size());
  return family;
}

// What the handles touch, outside the registry so that counting takes no lock: the cells of the
// attached segment, and for each handle's number the first cell of its series.
std::atomic<Cell*> g_cells{nullptr};
std::array<std::uint32_t, kSeriesMax + 1> g_cell_of{};
std::atomic<std::uint64_t> g_rows_in_use{std::uint64_t{1} << kSharedRow};

// The calling thread's row, given back when the thread ends (its sums stay in it).
class RowLease {
 public:
  RowLease() {
    std::uint64_t in_use = g_rows_in_use.load(std::memory_order_relaxed);
    while (~in_use != 0) {
      const int free_row = __builtin_ctzll(~in_use);
      if (g_rows_in_use.compare_exchange_weak(in_use, in_use | (std::uint64_t{1} << free_row))) {
        row_ = free_row;
        return;
      }
    }
  }
  ~RowLease() {
    if (row_ != kSharedRow) g_rows_in_use.fetch_and(~(std::uint64_t{1} << row_));
  }
  std::size_t row() const { return static_cast<std::size_t>(row_); }

 private:
  int row_ = kSharedRow;
};

Cell& own_cell(std::uint32_t handle, std::size_t offset = 0) {
  thread_local const RowLease lease;
  Cell* cells = g_cells.load(std::memory_order_relaxed);
  return cells[lease.row() * kMetricCellsMax + g_cell_of[handle] + offset];
}

void copy_name(std::span<char> into, std::string_view text) {
  WEIR_CHECK(text.size() < into.size());
  std::memcpy(into.data(), text.data(), text.size());
}

// Prometheus bounds: 0.001, 0.002, ... 2097.152, +Inf.
std::string bucket_bound(std::int64_t first_bound_ns, std::size_t bucket) {
  if (bucket + 1 == Histogram::kBuckets) return "+Inf";
  return fmt::format("{}", static_cast<double>(first_bound_ns << bucket) / 1e9);
}

}  // namespace

void Counter::add(std::uint64_t amount) const {
  if (cell_ != 0) own_cell(cell_).fetch_add(amount, std::memory_order_relaxed);
}

void Gauge::add(std::int64_t amount) const {
  if (cell_ == 0) return;
  own_cell(cell_).fetch_add(static_cast<std::uint64_t>(amount), std::memory_order_relaxed);
}

void Gauge::set(std::int64_t value) const {
  if (cell_ == 0) return;
  own_cell(cell_).store(static_cast<std::uint64_t>(value), std::memory_order_relaxed);
}

void Histogram::observe(Duration value) const {
  if (cell_ == 0) return;
  const std::int64_t ns = std::max<std::int64_t>(value.count(), 0);
  std::size_t bucket = 0;
  std::int64_t bound_ns = first_bound_.count();
  while (bucket + 1 < kBuckets && ns > bound_ns) {
    ++bucket;
    bound_ns *= 2;
  }
  own_cell(cell_, bucket).fetch_add(1, std::memory_order_relaxed);
  own_cell(cell_, kBuckets).fetch_add(static_cast<std::uint64_t>(ns), std::memory_order_relaxed);
}

struct Metrics::Impl {
  struct Local {
    std::string family;
    std::string labels;
    std::string help;
    MetricKind kind;
    std::int64_t first_bound_ns;
  };

  mutable std::mutex mutex;  // registration and rendering; counting never takes it
  Segment segment;
  std::vector<Local> locals;  // the series of handle number i + 1

  explicit Impl(void* base) : segment(base) {}

  std::uint32_t find_or_append(const Local& local) {
    const std::uint32_t count = segment.count();
    std::uint32_t next_cell = 1;  // cell 0 is nobody's
    for (std::uint32_t i = 0; i < count; ++i) {
      const Series& series = segment.series[i];
      if (local.family == series.family && local.labels == series.labels) {
        WEIR_CHECK(kind_of(series) == local.kind);
        return series.cell;
      }
      const auto cells = static_cast<std::uint32_t>(cells_of(kind_of(series)));
      next_cell = std::max(next_cell, series.cell + cells);
    }
    WEIR_CHECK(count < kSeriesMax);
    WEIR_CHECK(next_cell + cells_of(local.kind) <= kMetricCellsMax);
    Series& series = segment.series[count];
    series = {};
    copy_name(series.family, local.family);
    copy_name(series.labels, local.labels);
    copy_name(series.help, local.help);
    series.kind = static_cast<std::uint32_t>(local.kind);
    series.first_bound_ns = local.first_bound_ns;
    series.cell = next_cell;
    segment.header->series_count.store(count + 1, std::memory_order_release);
    return next_cell;
  }

  std::uint32_t add(MetricKind kind, std::string_view family, std::string_view labels,
                    std::string_view help, Duration first_bound = {}) {
    family = without_total(kind, family);
    const std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < locals.size(); ++i) {
      if (locals[i].family != family || locals[i].labels != labels) continue;
      WEIR_CHECK(locals[i].kind == kind);
      return static_cast<std::uint32_t>(i + 1);
    }
    WEIR_CHECK(locals.size() < kSeriesMax);
    locals.push_back(
        {std::string(family), std::string(labels), std::string(help), kind, first_bound.count()});
    g_cell_of[locals.size()] = find_or_append(locals.back());
    return static_cast<std::uint32_t>(locals.size());
  }

  struct Family {
    MetricKind kind;
    std::string help;
    std::int64_t first_bound_ns;
    std::map<std::string, std::vector<std::uint64_t>> series;  // by labels
  };

  std::map<std::string, Family> collect() const {
    const std::lock_guard lock(mutex);
    std::map<std::string, Family> families;
    for (std::uint32_t i = 0; i < segment.count(); ++i) {
      const Series& series = segment.series[i];
      const MetricKind kind = kind_of(series);
      Family& family =
          families.try_emplace(series.family, Family{kind, series.help, series.first_bound_ns, {}})
              .first->second;
      if (family.kind != kind || family.first_bound_ns != series.first_bound_ns) continue;
      std::vector<std::uint64_t>& sums = family.series[series.labels];
      sums.resize(cells_of(kind));
      for (std::size_t c = 0; c < sums.size(); ++c) sums[c] += segment.sum(series.cell + c);
    }
    return families;
  }
};

Metrics::Metrics() {
  void* base = mmap(nullptr, segment_bytes(), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  WEIR_CHECK(base != MAP_FAILED);
  impl_ = std::make_unique<Impl>(base);
  impl_->segment.header->magic = kMagic;
  g_cells.store(impl_->segment.cells);
}

Metrics& Metrics::instance() {
  static Metrics* const metrics = new Metrics;  // never destroyed: threads count until the very end
  return *metrics;
}

Counter Metrics::counter(std::string_view family, std::string_view labels, std::string_view help) {
  Counter made;
  made.cell_ = impl_->add(MetricKind::counter, family, labels, help);
  return made;
}

Gauge Metrics::gauge(std::string_view family, std::string_view labels, std::string_view help) {
  Gauge made;
  made.cell_ = impl_->add(MetricKind::gauge, family, labels, help);
  return made;
}

Histogram Metrics::histogram(std::string_view family, std::string_view labels,
                             std::string_view help, Duration first_bound) {
  Histogram made;
  made.cell_ = impl_->add(MetricKind::histogram, family, labels, help, first_bound);
  made.first_bound_ = first_bound;
  return made;
}

std::size_t Metrics::segment_bytes() {
  return kHeaderBytes + kSeriesMax * sizeof(Series) +
         kMetricThreadsMax * kMetricCellsMax * sizeof(Cell);
}

namespace {

Result<Segment> map_segment(int fd) {
  struct stat status = {};
  if (fstat(fd, &status) != 0) return fail_errno("stat metrics segment");
  if (static_cast<std::size_t>(status.st_size) < Metrics::segment_bytes()) {
    return fail(Errc::corrupt, "metrics segment size");
  }
  void* base = mmap(nullptr, Metrics::segment_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return fail_errno("map metrics segment");
  return Segment(base);
}

}  // namespace

Result<void> Metrics::attach(int segment_fd) {
  const Result<Segment> mapped = map_segment(segment_fd);
  if (!mapped) return std::unexpected(mapped.error());
  const std::lock_guard lock(impl_->mutex);
  const Segment before = impl_->segment;
  if (mapped->header->magic == 0) mapped->header->magic = kMagic;
  if (!well_formed(*mapped)) {
    munmap(mapped->header, segment_bytes());
    return fail(Errc::corrupt, "metrics segment directory");
  }
  for (std::uint32_t i = 0; i < mapped->count(); ++i) {
    if (kind_of(mapped->series[i]) != MetricKind::gauge) continue;
    for (std::size_t row = 0; row < kMetricThreadsMax; ++row) {
      mapped->at(row, mapped->series[i].cell).store(0, std::memory_order_relaxed);
    }
  }
  impl_->segment = *mapped;
  for (std::size_t i = 0; i < impl_->locals.size(); ++i) {
    const Impl::Local& local = impl_->locals[i];
    const std::uint32_t old_cell = g_cell_of[i + 1];
    const std::uint32_t cell = impl_->find_or_append(local);
    for (std::size_t row = 0; row < kMetricThreadsMax; ++row) {
      for (std::size_t c = 0; c < cells_of(local.kind); ++c) {
        const std::uint64_t counted = before.at(row, old_cell + c).load(std::memory_order_relaxed);
        if (counted == 0) continue;
        mapped->at(row, cell + c).fetch_add(counted, std::memory_order_relaxed);
      }
    }
    g_cell_of[i + 1] = cell;
  }
  g_cells.store(impl_->segment.cells);
  munmap(before.header, segment_bytes());
  return {};
}

std::string Metrics::render_openmetrics() const {
  std::string text;
  auto out = std::back_inserter(text);
  const std::map<std::string, Impl::Family> families = impl_->collect();
  constexpr const char* kKindNames[] = {"counter", "gauge", "histogram"};
  for (const auto& [name, family] : families) {
    fmt::format_to(out, "# TYPE {} {}\n# HELP {} {}\n", name,
                   kKindNames[static_cast<std::size_t>(family.kind)], name, family.help);
    for (const auto& [labels, sums] : family.series) {
      const std::string braced = labels.empty() ? "" : "{" + labels + "}";
      if (family.kind == MetricKind::counter) {
        fmt::format_to(out, "{}_total{} {}\n", name, braced, sums[0]);
      } else if (family.kind == MetricKind::gauge) {
        fmt::format_to(out, "{}{} {}\n", name, braced, static_cast<std::int64_t>(sums[0]));
      } else {
        std::uint64_t count = 0;
        for (std::size_t bucket = 0; bucket < Histogram::kBuckets; ++bucket) {
          count += sums[bucket];
          fmt::format_to(out, "{}_bucket{{{}{}le=\"{}\"}} {}\n", name, labels,
                         labels.empty() ? "" : ",", bucket_bound(family.first_bound_ns, bucket),
                         count);
        }
        fmt::format_to(out, "{}_count{} {}\n{}_sum{} {}\n", name, braced, count, name, braced,
                       static_cast<double>(sums[Histogram::kBuckets]) / 1e9);
      }
    }
  }
  text += "# EOF\n";
  return text;
}

std::int64_t Metrics::value(std::string_view family, std::string_view labels) const {
  const std::map<std::string, Impl::Family> families = impl_->collect();
  auto found = families.find(std::string(family));
  if (found == families.end()) {
    found = families.find(std::string(without_total(MetricKind::counter, family)));
  }
  if (found == families.end()) return 0;
  const auto series = found->second.series.find(std::string(labels));
  if (series == found->second.series.end()) return 0;
  const std::vector<std::uint64_t>& sums = series->second;
  if (found->second.kind != MetricKind::histogram) return static_cast<std::int64_t>(sums[0]);
  std::uint64_t count = 0;
  for (std::size_t bucket = 0; bucket < Histogram::kBuckets; ++bucket) count += sums[bucket];
  return static_cast<std::int64_t>(count);
}

}  // namespace weir::io
