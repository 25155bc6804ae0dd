#!/usr/bin/env bash
# Builds and tests everything: house rules, unit tests (release, ASan+UBSan, TSan where threads meet),
# real Git clients end to end, short fuzzing. Logs: build/test-logs.
# Ends with one line: "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")"
export PATH=$PATH:/usr/lib/llvm-19/bin  # sanitizers look for their symbolizer there

fuzz_seconds=${WEIR_FUZZ_SECONDS:-5}
./deploy/install-dependencies.sh test || exit 1

passed=0 failed=0 failures=()
report() {  # report NAME STATUS LOG
  if [ "$2" -eq 0 ]; then
    passed=$((passed + 1)); echo "ok      $1"
  else
    failed=$((failed + 1)); failures+=("$1"); echo "FAILED  $1"; tail -60 "$3" | sed 's/^/        /'
  fi
}
logs=$PWD/build/test-logs
mkdir -p "$logs"
step() {  # step NAME COMMAND...
  local name=$1 log started; shift
  log=$logs/$(echo "$name" | tr ' /' '--').log
  started=$SECONDS
  "$@" >"$log" 2>&1
  report "$name ($((SECONDS - started)) s)" $? "$log"
}
build() {  # build PRESET TARGETS...
  local preset=$1; shift
  cmake --preset "$preset" && ninja -C "build/$preset" "$@"
}
count() { grep -cE "$1" "$2" || true; }
tally() {  # tally NAME STATUS LOG PASSED FAILED SKIPPED SECONDS: many tests of one program
  passed=$((passed + $4))
  if [ "$2" -eq 0 ] && [ "$4" -gt 0 ]; then
    echo "ok      $1: $4 tests ($7 s)"
    [ "$6" -eq 0 ] || echo "        $6 skipped: see $3"
  else
    failed=$((failed + ($5 > 0 ? $5 : 1))); failures+=("$1: status $2, $4 passed, $5 failed")
    echo "FAILED  $1"; tail -100 "$3" | sed 's/^/        /'
  fi
}
unit() {  # unit PRESET PROGRAM [ARGUMENT...]: every gtest of the program counts
  local preset=$1 program=$2 log started; shift 2
  log=$logs/unit-$preset-$program${WEIR_IO:+-$WEIR_IO}.log
  started=$SECONDS
  timeout 300 build/"$preset"/tests/*/"$program" "$@" >"$log" 2>&1
  tally "$preset $program${WEIR_IO:+ on $WEIR_IO}" $? "$log" "$(count '^\[       OK \]' "$log")" \
    "$(count '^\[  FAILED  \] .*ms\)$' "$log")" "$(count '^\[  SKIPPED \] .*ms\)$' "$log")" $((SECONDS - started))
}
end_to_end() {  # end_to_end PRESET UNITTEST-ARGUMENT...: real clients against that build's server
  local preset=$1 log=$logs/e2e-$1${WEIR_IO:+-$WEIR_IO}.log started; shift
  started=$SECONDS
  (cd tests/e2e && WEIR_BINARY=$OLDPWD/build/$preset/server/weir PYTHONDONTWRITEBYTECODE=1 \
    timeout 900 /usr/bin/python3 -W ignore -m unittest "$@" -v) >"$log" 2>&1
  tally "$preset end to end${WEIR_IO:+ on $WEIR_IO}" $? "$log" "$(count '\.\.\. ok$' "$log")" \
    "$(count '^(FAIL|ERROR): ' "$log")" "$(count '\.\.\. skipped' "$log")" $((SECONDS - started))
}
# on_epoll COMMAND...: its loops use epoll as if io_uring were forbidden
on_epoll() { WEIR_TEST_IO=epoll WEIR_IO=epoll "$@"; }

programs="io_test http_test git_test server_test sim_test sim_pipeline_test"

step "build release" build release
step "house rules" ctest --test-dir build/release -L house --output-on-failure
for program in $programs; do unit release "$program"; done
end_to_end release discover -p '*_test.py'
for program in io_test http_test git_test; do on_epoll unit release "$program"; done
on_epoll end_to_end release clone_test planned_test push_test access_test hardening_test http2_conformance_test

step "build asan" build asan $programs weir plan_tool
for program in $programs; do unit asan "$program"; done
for program in io_test http_test git_test; do on_epoll unit asan "$program"; done
end_to_end asan clone_test.CloneTest.test_full_clone_brings_every_ref \
  clone_test.CloneTest.test_shallow_chain_deepens_and_unshallows access_test.AccessTest plan_oracle_test.PlanOracleTest \
  push_test.PushTest.test_small_push_is_there_and_seen_by_the_next_ls_remote \
  push_test.PushTest.test_chunked_push_over_one_mebibyte push_test.PushTest.test_broken_objects_are_refused

step "build tsan" build tsan io_test git_test
unit tsan io_test
on_epoll unit tsan io_test
unit tsan git_test --gtest_filter='RefStore*:ProcessSlots*:WorkerPool*:SyncCoalescer*'

step "build fuzz" build fuzz fuzz_targets
fuzz() {  # fuzz NAME: with the seeds of tests/fuzz/corpus and what earlier runs found
  mkdir -p "build/fuzz-corpus/$1"
  timeout $((fuzz_seconds + 60)) "build/fuzz/tests/fuzz/$1" -max_total_time="$fuzz_seconds" \
    -rss_limit_mb=2048 -timeout=10 -verbosity=0 -artifact_prefix="$logs/" \
    "build/fuzz-corpus/$1" "tests/fuzz/corpus/${1%_fuzz}" >"$logs/$1.log" 2>&1
  echo $? >"$logs/$1.status"
}
targets=$(basename -s .cc tests/fuzz/*_fuzz.cc)
rm -f "$logs"/*.status
for name in $targets; do
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
  fuzz "$name" &
done
wait
for name in $targets; do report "fuzz $name" "$(cat "$logs/$name.status")" "$logs/$name.log"; done

[ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
