#include "io/metrics.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace weir::io {
namespace {

// The registry is the process's own: each test runs in a child so that they do not meet.
template <typename Work>
int exit_code_of_child(Work work) {
  const pid_t pid = fork();
  if (pid == 0) _exit(work());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int make_segment() {
  const int fd = memfd_create("metrics", MFD_CLOEXEC);
  EXPECT_EQ(ftruncate(fd, static_cast<off_t>(Metrics::segment_bytes())), 0);
  return fd;
}

std::int64_t read_in_new_process(int segment, std::string_view family, std::string_view labels) {
  return exit_code_of_child([&] {
    Metrics& metrics = Metrics::instance();
    // Another order than the writer's: series are found by name.
    metrics.gauge("zz_other", "", "Something else.");
    if (!metrics.attach(segment)) return 255;
    return static_cast<int>(metrics.value(family, labels));
  });
}

TEST(Metrics, counters_survive_the_killed_process_and_gauges_do_not) {
  const int segment = make_segment();
  exit_code_of_child([&] {
    Metrics& metrics = Metrics::instance();
    const Counter early = metrics.counter("weir_requests_total", "op=\"fetch\"", "Requests.");
    early.add(2);  // before attach: moved over
    if (!metrics.attach(segment)) return 1;
    early.add(40);
    metrics.gauge("weir_connections", "", "Open connections.").add(7);
    metrics.histogram("weir_wait_seconds", "", "Waits.").observe(5ms);
    return raise(SIGKILL);
  });
  EXPECT_EQ(read_in_new_process(segment, "weir_requests_total", "op=\"fetch\""), 42);
  EXPECT_EQ(read_in_new_process(segment, "weir_requests", "op=\"fetch\""), 42);
  EXPECT_EQ(read_in_new_process(segment, "weir_wait_seconds", ""), 1);
  EXPECT_EQ(read_in_new_process(segment, "weir_connections", ""), 0);
  close(segment);
}

TEST(Metrics, refuses_segments_that_are_too_small_or_hold_something_else) {
  EXPECT_EQ(exit_code_of_child([&] {
              const int small = memfd_create("small", MFD_CLOEXEC);
              const int foreign = make_segment();
              if (pwrite(foreign, "not metrics", 11, 0) != 11) return 1;
              Metrics& metrics = Metrics::instance();
              const Counter counter = metrics.counter("weir_still", "", "Still counting.");
              if (metrics.attach(small) || metrics.attach(foreign) || metrics.attach(-1)) return 2;
              counter.add(3);
              return metrics.value("weir_still", "") == 3 ? 0 : 3;
            }),
            0);
}

TEST(Metrics, renders_openmetrics) {
  EXPECT_EQ(exit_code_of_child([&] {
              Metrics& metrics = Metrics::instance();
              metrics.counter("b_requests_total", "op=\"push\"", "Requests by operation.").add(3);
              metrics.counter("b_requests", "op=\"fetch\"", "Requests by operation.").add(1);
              metrics.gauge("c_level", "", "A level.").set(-2);
              const Histogram waits = metrics.histogram("d_wait_seconds", "lane=\"x\"", "Waits.");
              waits.observe(1ms);  // the bound itself belongs to the bucket
              waits.observe(1500us);
              waits.observe(2h);
              metrics.histogram("e_turn_seconds", "", "Turns.", 16us).observe(20us);
              const std::string text = metrics.render_openmetrics();
              const char* const kParts[] = {
                  "# TYPE b_requests counter\n# HELP b_requests Requests by operation.\n"
                  "b_requests_total{op=\"fetch\"} 1\nb_requests_total{op=\"push\"} 3\n"
                  "# TYPE c_level gauge\n# HELP c_level A level.\nc_level -2\n"
                  "# TYPE d_wait_seconds histogram\n# HELP d_wait_seconds Waits.\n"
                  "d_wait_seconds_bucket{lane=\"x\",le=\"0.001\"} 1\n"
                  "d_wait_seconds_bucket{lane=\"x\",le=\"0.002\"} 2\n"
                  "d_wait_seconds_bucket{lane=\"x\",le=\"0.004\"} 2\n",
                  "d_wait_seconds_bucket{lane=\"x\",le=\"1.024\"} 2\n",
                  "d_wait_seconds_bucket{lane=\"x\",le=\"2097.152\"} 2\n"
                  "d_wait_seconds_bucket{lane=\"x\",le=\"+Inf\"} 3\n"
                  "d_wait_seconds_count{lane=\"x\"} 3\nd_wait_seconds_sum{lane=\"x\"} 7200.0025\n",
                  "e_turn_seconds_bucket{le=\"1.6e-05\"} 0\n"
                  "e_turn_seconds_bucket{le=\"3.2e-05\"} 1\n",
                  "e_turn_seconds_bucket{le=\"33.554432\"} 1\n",
              };
              for (const char* part : kParts) {
                if (text.find(part) == std::string::npos) {
                  fprintf(stderr, "missing:\n%s\nin:\n%s", part, text.c_str());
                  return 1;
                }
              }
              return text.ends_with("# EOF\n") ? 0 : 2;
            }),
            0);
}

TEST(Metrics, loses_no_count_with_more_threads_than_rows) {
  Metrics& metrics = Metrics::instance();
  const Counter counter = metrics.counter("test_threads", "", "Counts of many threads.");
  constexpr int kThreads = 100, kCounts = 2000;
  static_assert(kThreads > kMetricThreadsMax);
  const std::int64_t before = metrics.value("test_threads", "");
  std::atomic<int> started{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      counter.add();
      started.fetch_add(1);
      while (started.load() < kThreads) std::this_thread::yield();  // all rows are taken at once
      for (int n = 1; n < kCounts; ++n) counter.add();
    });
  }
  while (started.load() < kThreads) {
    EXPECT_LE(metrics.value("test_threads", "") - before, kThreads * kCounts);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(metrics.value("test_threads", "") - before, kThreads * kCounts);
  Counter{}.add();  // a default handle counts nothing
}

}  // namespace
}  // namespace weir::io
