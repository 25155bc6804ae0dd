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
done

./deploy/install-dependencies.sh build
[ -f build/release/build.ninja ] || cmake --preset release >/dev/null
echo "weir: building (minutes the first time, seconds after)"
ninja -C build/release weir >build/release/build.log 2>&1 || { tail -40 build/release/build.log >&2; exit 1; }
weir=$PWD/build/release/server/weir

umask 077
mkdir -p "$state"
chmod 700 "$state"
state=$(cd "$state" && pwd)
umask 022
mkdir -p "$root"
root=$(cd "$root" && pwd)

if [ ! -f "$state/cert.pem" ]; then
  (umask 077
   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -sha256 \
     -subj '/CN=localhost' -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' \
     -addext 'basicConstraints=critical,CA:TRUE' \
     -keyout "$state/key.pem" -out "$state/cert.pem" 2>/dev/null)
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
first_tenant=$(cd "$root" && ls -d */ 2>/dev/null | head -1 | tr -d /)
first_tenant=${first_tenant:-demo}

if [ ! -f "$state/weir.toml" ]; then
  cat > "$state/weir.toml" <<TOML
# Made by run.sh; edit and send SIGHUP, or check it with: weir check --config $state/weir.toml
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
     --secret-only > "$state/token")
fi

base=https://localhost:$port
repository=$(cd "$root" && find "$first_tenant" -maxdepth 3 -name '*.git' 2>/dev/null | sort | head -1 || true)
case "$repository" in */.git) repository=${repository%/.git} ;; esac
repository=${repository:-$first_tenant/<path>.git}
cat <<TXT

Serving $root (reading is public, pushing needs the token in $state/token)

  git -c http.sslCAInfo=$state/cert.pem clone $base/$repository
  git -c http.sslCAInfo=$state/cert.pem push https://token:\$(cat $state/token)@localhost:$port/$repository HEAD

To trust the certificate for good:  git config --global http.$base/.sslCAInfo $state/cert.pem
Health and metrics:                 curl http://127.0.0.1:$admin_port/metrics
What runs now:                      curl --unix-socket $state/admin.sock http://weir/v1/status
Every request, a line each:         tail -f $state/weir.log
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
