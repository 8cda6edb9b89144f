# What the acts of the demo share. To be sourced.
: "${KUBECONFIG:?is not set: run make demo, or point it at a lab of your own}"
namespace=${SEICTL_DEMO_NAMESPACE:-sei-demo}
# seictl as built here, and the kubectl that the lab built.
lab_bin=${SEICTL_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/seictl-lab}/bin
PATH=$PWD/bin:$lab_bin:$PATH
operator_image=lab.invalid/seictl:dev

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; fi

say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
run() {
  printf '%s$ %s%s\n' "$bold" "$*" "$plain"
  "$@"
}
# fails CODE COMMAND…: the command must end with this exit code.
fails() {
  local want=$1 code=0
  shift
  run "$@" || code=$?
  echo "exit code $code"
  [ "$code" = "$want" ] || die "expected exit code $want of: $*"
}
die() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}
without_operator() {
  seictl install operator --image "$operator_image" | kubectl delete --ignore-not-found --wait -f - >/dev/null
}
