#!/usr/bin/env bash
# Builds and runs the lab: a real Kubernetes cluster on this machine, without
# Docker and without a network. See README.md beside this file. With LAB=sim:
# one whose pods are simulated, which needs no root and carries thousands.
#
#   e2e/lab/lab.sh up | down | status | stop | start | kubectl | build
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export SEICTL_LAB_SOURCE=$here
export SEICTL_LAB_CACHE=${SEICTL_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/seictl-lab}
export LAB=${LAB:-real}
bin=$SEICTL_LAB_CACHE/bin

say() { echo "lab: $*" >&2; }
die() { say "$*"; exit 1; }

# program:package, all of Debian.
needs=(containerd:containerd ctr:containerd runc:runc iptables:iptables nft:nftables
  conntrack:conntrack ip:iproute2 /usr/lib/cni/bridge:containernetworking-plugins
  /bin/bash-static:bash-static)

missing_packages() {
  local need
  for need in "${needs[@]}"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${need%%:*}" >/dev/null || echo "${need#*:}"
  done | sort -u
}

check_machine() {
  [ "$(uname -s)" = Linux ] || die "needs Linux: it runs kubelet and containerd on this very machine"
  case $LAB in
    real) ;;
    sim) return 0 ;;
    *) die "LAB=$LAB: there are real and sim" ;;
  esac
  [ "$(id -u)" = 0 ] || die "needs root (cgroups, mounts, network namespaces): run it with sudo -E"
  [ -d /sys/fs/cgroup ] || die "needs cgroups, mounted at /sys/fs/cgroup"
}

install_packages() {
  [ "$LAB" = real ] || return 0
  local missing
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  missing=$(tr '\n' ' ' <<<"$missing")
  command -v apt-get >/dev/null ||
    die "needs these Debian packages, and there is no apt-get to install them: $missing"
  say "installing $missing"
  # policy-rc.d: Debian would start containerd as a service of its own.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=1
  fi
  local log status=0
  log=$(mktemp)
  { apt-get update -qq &&
    # shellcheck disable=SC2086 # one word a package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } \
    >"$log" 2>&1 </dev/null || status=$?
  [ -z "$made" ] || rm -f "$policy"
  if [ "$status" != 0 ]; then
    cat "$log" >&2
    rm -f "$log"
    die "installing the packages failed (exit status $status)"
  fi
  rm -f "$log"
}

# Everything that the build depends on, as one line.
fingerprint() {
  { go version
    cd "$here"
    find . \( -name '*.go' ! -name '*_test.go' \) -print0 -o \( -name go.mod -o -name go.sum -o -name lab.sh \) -print0 |
      sort -z | xargs -0 sha256sum; } | sha256sum
}

build() {
  command -v go >/dev/null || die "needs Go ($(sed -n 's/^go //p' "$here/go.mod") or newer) to build the cluster"
  mkdir -p "$bin" "$SEICTL_LAB_CACHE/stage"
  local now
  # The sim tier does without the name server, and so without the minutes that it takes to build.
  local built=$SEICTL_LAB_CACHE/built-$LAB
  now=$(fingerprint)
  [ "$now" != "$(cat "$built" 2>/dev/null)" ] || return 0
  local start=$SECONDS v=k8s.io/component-base/version
  [ -x "$bin/labkube" ] || say "building the cluster: about six minutes the first time"
  (
    cd "$here"
    export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
    local targets=(./cmd/lab ./cmd/labkube ./cmd/labsim ./cmd/pause) t
    for t in seid sidecar rbac-proxy caller; do
      [ ! -d "standins/$t" ] || targets+=("./standins/$t")
    done
    # Without a version kubectl and others cannot parse what the server says.
    # No -trimpath and no cgo: tests and linters with CGO_ENABLED=0 share the build cache.
    go build -o "$SEICTL_LAB_CACHE/stage/" \
      -ldflags "-s -w -X $v.gitVersion=v1.36.3 -X $v.gitMajor=1 -X $v.gitMinor=36" "${targets[@]}"
    [ "$LAB" != real ] || go -C dns build -o "$SEICTL_LAB_CACHE/stage/coredns" -ldflags "-s -w" .
    # What came out the same keeps its time, so that nothing restarts for it.
    for t in "$SEICTL_LAB_CACHE"/stage/*; do
      cmp -s "$t" "$bin/${t##*/}" || { cp "$t" "$bin/.next" && mv -f "$bin/.next" "$bin/${t##*/}"; }
    done
    rm -rf "$SEICTL_LAB_CACHE/share/crds"
    mkdir -p "$SEICTL_LAB_CACHE/share/crds"
    cp "$(go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)"/deploy/crds/*.yaml "$SEICTL_LAB_CACHE/share/crds/"
    chmod -R u+w "$SEICTL_LAB_CACHE/share/crds"
    ln -sf labkube "$bin/kubectl"
  )
  say "built in $((SECONDS - start))s"
  echo "$now" >"$built"
}

case ${1:-} in
  up | build) check_machine; install_packages; build; [ "$1" = up ] || exit 0 ;;
  down) check_machine ;;
  status | stop | start | kubectl) ;;
  *) die "usage: lab.sh up | down | status [-o json] | stop COMPONENT [--now] | start COMPONENT | kubectl … | build" ;;
esac
exec "$bin/lab" "$@"
