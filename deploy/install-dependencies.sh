#!/usr/bin/env bash
# Installs the Debian 12 packages that building (and, with "test" or "perf", testing or comparing)
# Weir needs; does nothing when they are all there. Needs root or sudo only if something is missing.
set -euo pipefail

build=(clang-19 lld-19 cmake ninja-build ccache pkg-config liburing-dev libnghttp2-dev libssl-dev
       libseccomp-dev libjemalloc-dev libgit2-dev libfmt-dev libtomlplusplus-dev libcli11-dev nlohmann-json3-dev
       zlib1g-dev libdeflate-dev libgtest-dev git openssl curl ca-certificates python3)
tests=(libclang-rt-19-dev llvm-19 clang-format-19 libhttp-parser-dev python3-pygit2
       python3-dulwich nghttp2-client strace openssh-client testssl.sh systemd)
perf=(nginx-light fcgiwrap time util-linux)

wanted=("${build[@]}")
case "${1:-build}" in
  build) ;;
  test) wanted+=("${tests[@]}") ;;
  perf) wanted+=("${tests[@]}" "${perf[@]}") ;;
  *) echo "usage: $0 [build|test|perf]" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "weir: installing ${#missing[@]} Debian packages: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "weir: need root (or sudo) to install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
log=$(mktemp)
if ! { "${as_root[@]}" apt-get update &&
       DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -30 "$log" >&2
  echo "weir: installing packages failed (whole log: $log)" >&2
  exit 1
fi
rm -f "$log"
