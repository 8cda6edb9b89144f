#!/usr/bin/env bash
# Everything that must hold before a change is accepted, except the tests. Runs every check, then fails if one did.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=()

check() { # check NAME COMMAND…
  local name=$1 start=$SECONDS
  shift
  echo "==> $name"
  if "$@"; then
    echo "    ok ($((SECONDS - start))s)"
  else
    failed+=("$name")
    echo "    FAILED ($((SECONDS - start))s)"
  fi
}

generated() {
  local gen=(go tool -modfile=hack/tools/go.mod controller-gen) stale=0
  "${gen[@]}" object crd paths=./api/... output:object:dir="$tmp/object" output:crd:artifacts:config="$tmp/crd" || return 1
  diff -u api/v1alpha1/zz_generated.deepcopy.go "$tmp/object/zz_generated.deepcopy.go" || stale=1
  diff -ru config/crd/bases "$tmp/crd" || stale=1
  [ "$stale" = 0 ] || echo "stale generated files: run 'make generate manifests'"
  return "$stale"
}

reference() { # of the commands
  go run ./hack/gendocs "$tmp/cli" && diff -ru --exclude=README.md docs/cli "$tmp/cli" || { echo "stale reference: run 'make docs'"; return 1; }
}

failure_modes() { # those of the scenarios, which must cover the catalogue
  (cd e2e && go test -tags e2e -count=1 -run '^(TestFailureModesDocument|TestChaptersHoldEveryScenario|TestCatalogueIsCovered)$' .)
}

formatted() {
  local files
  files=$(git ls-files -z --cached --others --exclude-standard -- '*.go' | xargs -0 ls -d 2>/dev/null | xargs gofmt -l) || return 1
  [ -z "$files" ] || { echo "not formatted: run gofmt -w on"; echo "$files"; return 1; }
}

tidy() { # each module
  local dir status=0
  for dir in . e2e/lab e2e/lab/dns hack/tools; do
    (cd "$dir" && go mod tidy -diff) || { echo "untidy: run 'go mod tidy' in $dir"; status=1; }
  done
  return "$status"
}

vet() {
  local status=0
  go vet ./... || status=1
  go vet -tags e2e,failpoints ./... || status=1
  (cd e2e/lab && go vet ./...) || status=1
  (cd e2e/lab/dns && go vet ./...) || status=1
  return "$status"
}

# What is tested is what is shipped: the tests read the rules that seictl installs.
alerts() {
  mkdir "$tmp/alerts" && cp config/monitoring/tests/*.yaml "$tmp/alerts" || return 1
  hack/install-promtool.sh && go run ./cmd/seictl install monitoring -o rules >"$tmp/alerts/rules.yaml" || return 1
  (cd "$tmp/alerts" && promtool check rules rules.yaml && for t in *.yaml; do
    [ "$t" = rules.yaml ] || promtool test rules "$t" || exit 1
  done) || return 1
  go test -count=1 -run 'Alert|Dashboard|Monitor' ./config
}

check "generated files" generated
check "reference of the commands" reference
check "failure modes" failure_modes
check "gofmt" formatted
check "go mod tidy" tidy
check "alerts" alerts
check "go vet" vet
check "golangci-lint" make --no-print-directory lint

if [ ${#failed[@]} -gt 0 ]; then
  (IFS=,; echo "verify failed: ${failed[*]}")
  exit 1
fi
echo "verify: all well"
