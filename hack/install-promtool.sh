#!/usr/bin/env bash
# Brings promtool, which checks and tests the alert rules: Debian's package prometheus. Does nothing when it is there.
set -euo pipefail

say() { echo "install-promtool: $*" >&2; }
die() { say "$*"; exit 1; }

! command -v promtool >/dev/null || exit 0
command -v apt-get >/dev/null || die "promtool is not in PATH and there is no apt-get to install it; next: install Prometheus 2.42 or newer"
[ "$(id -u)" = 0 ] || die "promtool is not in PATH; next: sudo apt-get install prometheus"

# policy-rc.d: Debian would start Prometheus as a service of its own.
policy=/usr/sbin/policy-rc.d made='' log=$(mktemp)
trap '[ -z "$made" ] || rm -f "$policy"; rm -f "$log"' EXIT
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=1
fi
say "installing Debian's package prometheus"
{ apt-get update -qq &&
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus; } >"$log" 2>&1 </dev/null || {
  status=$?
  cat "$log" >&2
  die "installing prometheus failed (exit status $status)"
}
command -v promtool >/dev/null || die "Debian's package prometheus brought no promtool"
