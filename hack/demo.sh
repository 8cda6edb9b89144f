#!/usr/bin/env bash
# The first act, on a real cluster: a few nodes brought to Running, then TLS for one of them, in one pod cycle.
# Needs KUBECONFIG; `make demo` starts the lab and sets it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

. hack/demo-lib.sh
node=ax-0

pod_uid() { kubectl get pod "$node-0" -n "$namespace" -o jsonpath='{.metadata.uid}'; }
status_of() { kubectl get seinode "$node" -n "$namespace" -o jsonpath="$1"; }

# The demo tells its story from the start each time: a node that has TLS already would have nothing to show.
if kubectl get namespace "$namespace" >/dev/null 2>&1; then
  say "Namespace $namespace is left over from an earlier run"
  without_operator
  run kubectl delete namespace "$namespace" --timeout=3m
fi

say "A namespace of nodes: its ServiceAccount, and the binding that lets the proxy ask who calls"
run kubectl create namespace "$namespace"
run seictl install base --apply --node-namespace "$namespace"

say "Three nodes on two chains, without TLS"
for file in config/samples/{arctic-1-ax-0,arctic-1-archive-0,pacific-1-syncer-0}.yaml; do
  run seictl node apply -n "$namespace" -f "$file" --yes
done
run kubectl get seinodes -n "$namespace"
before=$(pod_uid)

say "What would TLS mean for $node? Nothing is changed by a plan"
run seictl node plan "$node" -n "$namespace" --tls --issuer arctic-1-ca

say "Do it: one edit of the spec, one plan, one pod cycle"
# Every pod of the node that ever exists from here on, by UID.
seen=$(mktemp)
kubectl get pods -n "$namespace" -l "sei.io/node=$node" --watch \
  -o jsonpath='{.metadata.uid}{"\n"}' >"$seen" &
watcher=$!
trap 'kill "$watcher" 2>/dev/null || true; rm -f "$seen"' EXIT
run seictl node apply "$node" -n "$namespace" --tls --issuer arctic-1-ca --yes
after=$(pod_uid)

say "What runs now is what was observed serving"
run seictl node status "$node" -n "$namespace"
run seictl node verify "$node" -n "$namespace"
run kubectl get seinodes -n "$namespace"

say "The claims, checked"
# The watch may lag the last event by a moment: wait until it has shown the pod that is there now.
(set +o pipefail; timeout 10 tail -n +1 -f "$seen" | grep -qm1 "$after") || die "the watch did not show pod $after"
cycles=$(sort -u "$seen" | grep -vc "^$before\$" || true)
[ "$before" != "$after" ] || die "the pod was not replaced"
[ "$cycles" = 1 ] || die "expected one pod cycle, saw $cycles new pods"
echo "pod cycles: 1 (pod $before was replaced by $after)"

served=$(status_of '{.status.currentSidecarTLS.fingerprintSHA256}')
secret=$(kubectl get secret "$node-sidecar-tls" -n "$namespace" -o jsonpath='{.data.tls\.crt}' | base64 -d |
  awk '/END CERT/ {exit} leaf; /BEGIN CERT/ {leaf = 1}' | base64 -d | sha256sum | cut -d' ' -f1)
[ -n "$served" ] && [ "$served" = "$secret" ] || die "served leaf '$served' is not the Secret's '$secret'"
echo "served leaf = leaf in the Secret: $served"

say "Applied again, there is nothing to do"
run seictl node apply "$node" -n "$namespace" --tls --issuer arctic-1-ca --yes
