#!/usr/bin/env bash
# Builds and tests everything: unit tests (release, ASan+UBSan, TSan), short fuzzing, house rules and
# end-to-end tests with real Git clients. Ends with one line: "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")"

fuzz_seconds=${WEIR_FUZZ_SECONDS:-10}
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
unit() {  # unit PRESET PROGRAM: every gtest of the program counts
  local preset=$1 program=$2 log status counted
  log=$logs/unit-$preset-$program.log
  timeout 900 "build/$preset/tests/${program%_test}/$program" >"$log" 2>&1
  status=$?
  counted=$(grep -c '^\[       OK \]' "$log")
  if [ $status -eq 0 ] && [ "$counted" -gt 0 ]; then
    passed=$((passed + counted)); echo "ok      $preset $program: $counted tests"
  else
    report "$preset $program" 1 "$log"
  fi
}

programs="io_test http_test git_test server_test"

step "build release" build release
step "house rules" ctest --test-dir build/release -L house --output-on-failure
for program in $programs; do unit release "$program"; done

step "build asan" build asan $programs weir
for program in $programs; do unit asan "$program"; done

step "build tsan" build tsan io_test
unit tsan io_test

step "build fuzz" build fuzz fuzz_targets
for target in build/fuzz/tests/fuzz/*_fuzz; do
  [ -x "$target" ] || continue
  name=$(basename "$target")
  mkdir -p "build/fuzz-corpus/$name"
  step "fuzz $name" timeout $((fuzz_seconds + 60)) "$target" -max_total_time="$fuzz_seconds" \
    -rss_limit_mb=2048 -timeout=10 -print_final_stats=0 -verbosity=0 \
    -artifact_prefix="$logs/" "build/fuzz-corpus/$name" "tests/fuzz/corpus/${name%_fuzz}"
done

e2e_log=$logs/e2e.log
/usr/bin/python3 -m unittest discover -v -s tests/e2e -p '*_test.py' >"$e2e_log" 2>&1
status=$?
counted=$(grep -cE '\.\.\. ok$' "$e2e_log")
bad=$(grep -cE '\.\.\. (FAIL|ERROR)$' "$e2e_log")
passed=$((passed + counted))
if [ "$status" -ne 0 ] || [ "$counted" -eq 0 ]; then
  failed=$((failed + (bad > 0 ? bad : 1)))
  failures+=("e2e"); tail -150 "$e2e_log"
fi
echo "        e2e: $counted passed"

[ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
