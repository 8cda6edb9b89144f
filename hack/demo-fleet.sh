#!/usr/bin/env bash
# The second act, in the namespace of the first: an operator, SeiNodeDeployments, and TLS for all of a chain. A node fails,
# the rollout stops there, is resumed, and in the end taken back.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. hack/demo-lib.sh
chain=pacific-1 bad=pacific-archive-1

# proxy METHOD KIND: the lab's stand-ins misbehave on request; this one is about the proxy of $bad.
proxy() {
  local body='{}' answer
  exec 3<>/dev/tcp/127.0.0.1/9900
  printf '%s /faults/%s/%s-0/kube-rbac-proxy%s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s' \
    "$1" "$namespace" "$bad" "$2" "${#body}" "$body" >&3
  read -r answer <&3
  exec 3>&-
  [[ $answer == *" 200 "* ]] || die "the lab's registry of faults says: $answer"
}
nodes() { kubectl get seinodes -n "$namespace" -o name | wc -l; }

say "The operator: from here on it drives, and what you type edits and watches"
run seictl install operator --image "$operator_image" --apply
trap without_operator EXIT
run kubectl rollout status deployment/seictl-operator -n sei-system --timeout=2m

say "Two SeiNodeDeployments more: three chains, fleets and single nodes"
run kubectl apply -n "$namespace" -f config/samples/atlantic-2-syncer.yaml -f config/samples/pacific-1-archive.yaml
for _ in $(seq 60); do [ "$(nodes)" = 7 ] && break; sleep 1; done
run kubectl wait seinodes --all -n "$namespace" --for=condition=Ready --timeout=3m
run kubectl get seinodes,seinodedeployments -n "$namespace"

say "What would TLS mean for all of $chain? Issuer and budget come from the settings"
run seictl fleet plan --chain "$chain"

say "Do it. The proxy of $bad will crash at every start: a node that fails in mid-rollout"
proxy PUT /crash-loop
fails 4 seictl fleet enable-tls --chain "$chain" --yes

say "It was rolled back and serves; nothing after it was touched. Why?"
run kubectl get seinodes -n "$namespace"
run seictl node explain "$bad" -n "$namespace"

say "The cause is gone: go on where it stopped"
proxy DELETE ''
run seictl fleet resume --chain "$chain"
run seictl node verify --chain "$chain" -n "$namespace"

say "The same command again has nothing to do"
run seictl fleet enable-tls --chain "$chain" --yes

say "And back: every node to what it had before"
run seictl fleet undo --chain "$chain" --yes
run seictl fleet history
run kubectl get seinodes -n "$namespace"
without_operator
trap - EXIT

cat <<END

${bold}Try next${plain} (no operator is installed any more: seictl drives by itself)
  export KUBECONFIG=$KUBECONFIG PATH=$PWD/bin:$lab_bin:\$PATH
  seictl node plan ax-0 -n $namespace --tls --issuer pacific-1-ca     # another issuer: no pod cycle at all
  seictl node plan archive-0 -n $namespace --tls --issuer no-such-ca  # an issuer that does not exist
  seictl node apply ax-0 -n $namespace --no-tls                       # and off again
  seictl fleet enable-tls --chain arctic-1                      # a canary, then the rest
  kubectl get seinode ax-0 -n $namespace -o yaml
  make demo-down                                              # removes the lab and all it made
END
