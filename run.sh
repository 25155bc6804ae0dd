#!/usr/bin/env bash
# Builds Weir and serves a folder of Git repositories over HTTPS on loopback.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'TXT'
usage: ./run.sh [--root DIR] [--port N] [--admin-port N] [--state DIR] [-- extra weir arguments]

  --root DIR        folder that holds DIR/<tenant>/<path>.git (default: repos/, with a demo repository)
  --port N          HTTPS port on loopback (default 8443)
  --admin-port N    health and metrics port on loopback (default 8444)
  --state DIR       certificate, key, token and weir.toml (default .weir/, mode 0700)
TXT
}

root=repos port=8443 admin_port=8444 state=.weir
extra=()
while [ $# -gt 0 ]; do
  case "$1" in
    --root|--port|--admin-port|--state)
      [ $# -ge 2 ] || { echo "run.sh: $1 needs a value" >&2; usage >&2; exit 2; }
      case "$1" in
        --root) root=$2 ;;
        --port) port=$2 ;;
        --admin-port) admin_port=$2 ;;
        --state) state=$2 ;;
      esac
      shift 2 ;;
    --) shift; extra=("$@"); break ;;
    -h|--help) usage; exit 0 ;;
    *) echo "run.sh: unknown argument: $1" >&2; usage >&2; exit 2 ;;
  esac
done
for number in "$port" "$admin_port"; do
  case "$number" in ''|*[!0-9]*) echo "run.sh: not a port: $number" >&2; exit 2 ;; esac
  if (exec 3<>"/dev/tcp/127.0.0.1/$number") 2>/dev/null; then
    echo "run.sh: a server listens on port $number already; choose with --port N and --admin-port N" >&2
    exit 1
  fi
done

if [ -e "$root/.git" ] || { [ -f "$root/HEAD" ] && [ -d "$root/objects" ]; }; then
  echo "run.sh: $root is a repository; --root is the folder that holds <tenant>/<path>.git" >&2
  exit 2
fi

./deploy/install-dependencies.sh build
mkdir -p build/release
log=$PWD/build/release/build.log
echo "weir: building; minutes the first time, seconds after (to watch: tail -f $log)"
if ! { { [ -f build/release/build.ninja ] || cmake --preset release; } &&
       ninja -C build/release weir; } >"$log" 2>&1; then
  tail -40 "$log" >&2
  echo "weir: building failed (whole log: $log)" >&2
  exit 1
fi
weir=$PWD/build/release/server/weir

umask 077
mkdir -p "$state"
chmod 700 "$state"
state=$(cd "$state" && pwd)
umask 022
if [ ! -d "$root" ]; then
  mkdir -p "$root"
  echo "weir: made an empty folder for repositories: $root"
fi
root=$(cd "$root" && pwd)

# Made beside their names and moved, so that a start that was cut off leaves no half of them.
if [ ! -f "$state/cert.pem" ]; then
  (umask 077
   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -sha256 \
     -subj '/CN=localhost' -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' \
     -addext 'basicConstraints=critical,CA:TRUE' \
     -keyout "$state/key.pem" -out "$state/cert.pem.new" 2>"$state/openssl.log") ||
    { cat "$state/openssl.log" >&2; echo "run.sh: making a certificate failed" >&2; exit 1; }
  rm -f "$state/openssl.log"
  mv "$state/cert.pem.new" "$state/cert.pem"
  echo "weir: made a self-signed certificate: $state/cert.pem"
fi

if [ -z "$(ls -A "$root")" ]; then
  demo=$root/demo/hello.git
  mkdir -p "$root/demo"
  git init -q --bare --initial-branch=main "$demo"
  work=$(mktemp -d)
  git init -q --initial-branch=main "$work"
  printf '# hello\n\nA small repository served by Weir.\n' > "$work/README.md"
  git -C "$work" add README.md
  git -C "$work" -c user.name=Weir -c user.email=weir@localhost commit -q -m 'Say hello'
  git -C "$work" push -q "$demo" main
  rm -rf "$work"
  echo "weir: made a demo repository: $demo"
fi

if [ ! -f "$state/weir.toml" ]; then
  cat > "$state/weir.toml" <<TOML
# Made by run.sh. Every key: docs/configuration.md. After a change: weir check --config FILE --root DIR,
# then SIGHUP to the server (its pid: the line that run.sh prints).
[tls]
certificates = [{ certificate = "$state/cert.pem", key = "$state/key.pem" }]

[access]
public_read = true
tokens = "$state/tokens"

[log]
path = "$state/weir.log"
TOML
fi
if [ ! -f "$state/token" ]; then
  (umask 077
   "$weir" token add --file "$state/tokens" --tenant '*' --subject "${USER:-you}" --scopes read,push \
     --secret-only > "$state/token.new")
  mv "$state/token.new" "$state/token"
fi

base=https://localhost:$port
# Any repository will do as the example: the first, of the shallowest, that is x.git or x/.git.
find_head() { (cd "$root" && find . "$@" -type f -name HEAD -print -quit 2>/dev/null) || true; }
example=$(find_head -mindepth 3 -maxdepth 3 -path '*[!/].git/HEAD')
for depth in 4 5 6; do
  [ -n "$example" ] || example=$(find_head -mindepth $depth -maxdepth $depth -path '*.git/HEAD')
done
if [ -z "$example" ]; then
  stray=$(find_head -maxdepth 3 -path '*.git/HEAD')
  stray=${stray%/HEAD} stray=${stray%/.git}
  [ -z "$stray" ] || echo "run.sh: $root/${stray#./} is served only from a tenant's folder:" \
    "$root/<tenant>/${stray#./}" >&2
fi
repository=${example#./}
repository=${repository%/HEAD}
repository=${repository%/.git}
repository=${repository:-<tenant>/<path>.git}
shown=$(printf %q "$state") folder=${repository##*/}
cat <<TXT

Serving $root (reading is public, pushing needs the token in $shown/token)

  git -c http.sslCAInfo=$shown/cert.pem clone $base/$repository && cd ${folder%.git}
  git -c http.sslCAInfo=$shown/cert.pem push https://token:\$(cat $shown/token)@localhost:$port/$repository HEAD

To trust the certificate for good:  git config --global http.$base/.sslCAInfo $shown/cert.pem
Health and metrics:                 curl http://127.0.0.1:$admin_port/metrics
What runs now:                      curl --unix-socket $shown/admin.sock http://weir/v1/status
Every request, a line each:         tail -f $shown/weir.log
After a change of weir.toml:        kill -HUP $$
To stop:                            Ctrl-C (requests that run are finished; twice: at once)

TXT
listen=(--listen "127.0.0.1:$port")
# localhost may be ::1 for a client; a machine without IPv6 has no such address.
if grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2>/dev/null; then
  listen+=(--listen "[::1]:$port")
fi
exec "$weir" serve --config "$state/weir.toml" --root "$root" --state "$state" \
  "${listen[@]}" --admin-listen "127.0.0.1:$admin_port" \
  --announce "$base" ${extra[@]+"${extra[@]}"}
