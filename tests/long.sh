#!/usr/bin/env bash
# What ./test.sh does briefly, at length, and an hour's soak: about three hours. Needs what ./test.sh has built.
#   WEIR_KILLS (1000), WEIR_KILL_SEED (the time), WEIR_POWERCUT_STATES (10000), WEIR_POWERCUT_SEED (the same),
#   WEIR_ORACLE_REQUESTS (20000), WEIR_ORACLE_SEED (the time), WEIR_FUZZ_SECONDS (240 for each target),
#   WEIR_SOAK_MINUTES (60), WEIR_MAINTAIN_KILLS (100)
set -uo pipefail
cd "$(dirname "$0")/.."

export WEIR_KILLS=${WEIR_KILLS:-1000} WEIR_KILL_SEED=${WEIR_KILL_SEED:-$(date +%s)}
export WEIR_POWERCUT_STATES=${WEIR_POWERCUT_STATES:-10000}
export WEIR_POWERCUT_SEED=${WEIR_POWERCUT_SEED:-$WEIR_KILL_SEED}
fuzz_seconds=${WEIR_FUZZ_SECONDS:-240}
failed=0
attempt() { echo "== $*"; "$@" || { failed=$((failed + 1)); echo "FAILED: $*"; }; }

echo "kills: $WEIR_KILLS, seed $WEIR_KILL_SEED"
attempt env -C tests/e2e WEIR_BINARY="$PWD/build/release/server/weir" python3 -W ignore \
  -m unittest kill_test drain_test exhaustion_test powercut_test -v
attempt env -C tests/e2e WEIR_BINARY="$PWD/build/release/server/weir" \
  WEIR_MAINTAIN_KILLS="${WEIR_MAINTAIN_KILLS:-100}" python3 -W ignore -m unittest maintain_test -v

attempt env -C tests/e2e WEIR_BINARY="$PWD/build/release/server/weir" WEIR_TLS_SCAN=full \
  python3 -W ignore -m unittest tls_scan_test -v
oracle_seed=${WEIR_ORACLE_SEED:-$(date +%s)}
echo "plans: seed $oracle_seed"
attempt python3 tests/e2e/plan_oracle.py --seed "$oracle_seed" --requests "${WEIR_ORACLE_REQUESTS:-20000}"
attempt python3 tests/soak.py --minutes "${WEIR_SOAK_MINUTES:-60}"

mkdir -p build/test-logs
for source in tests/fuzz/*_fuzz.cc; do
  name=$(basename "$source" .cc)
  mkdir -p "build/fuzz-corpus/$name"
  attempt "build/fuzz/tests/fuzz/$name" -max_total_time="$fuzz_seconds" -rss_limit_mb=2048 -timeout=10 \
    -verbosity=0 -artifact_prefix=build/test-logs/ "build/fuzz-corpus/$name" "tests/fuzz/corpus/${name%_fuzz}"
done
echo "$failed failed"
[ "$failed" -eq 0 ]
