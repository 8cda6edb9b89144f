package resources

// Scripts that run in the seid image. It is only sure to carry bash, so they use nothing but its builtins: no sleep, no
// curl, no rm. A `read` with a timeout from a pipe that nobody writes to is the sleep.

// seidInitScript creates the home directory once. seid writes its config.toml before it is done, so the file alone does
// not prove that an earlier run was not killed half-way: the marker is not empty until seid init has ended.
const seidInitScript = `set -eu
marker="$HOME/.seid-init-unfinished"
if [[ -e "$HOME/config/config.toml" && ! -s "$marker" ]]; then
  echo "seid-init: $HOME is initialised already"
  exit 0
fi
overwrite=""
if [[ -s "$marker" ]]; then
  overwrite=yes
fi
echo unfinished > "$marker"
seid init "$SEI_NODE_NAME" --chain-id "$SEI_CHAIN_ID" --home "$HOME" ${overwrite:+--overwrite}
: > "$marker"
echo "seid-init: $HOME is initialised"
`

// seidStartScript is the start gate: at every start of the container it waits until the sidecar answers 200, which it
// does after mark-ready, and only then becomes seid. As PID 1 bash would ignore SIGTERM without a trap, and a parked pod
// would take its whole grace period to go. A sidecar that hangs up early must not kill the gate with SIGPIPE; the traps
// are gone after exec.
const seidStartScript = `trap 'exit 143' TERM INT
trap : PIPE
exec {never}<> <(:)
pause() {
  read -r -t 0.2 -u "$never" || true
}
released() {
  local status=""
  { exec {sidecar}<>"/dev/tcp/127.0.0.1/$SEI_SIDECAR_PORT"; } 2>/dev/null || return 1
  printf 'GET /v0/healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' 2>/dev/null >&"$sidecar"
  IFS= read -r -t 2 -u "$sidecar" status
  exec {sidecar}>&-
  [[ "$status" == HTTP/1.?' 200'* ]]
}
echo "seid: waiting for the sidecar on port $SEI_SIDECAR_PORT to be marked ready"
until released; do
  pause
done
echo "seid: the sidecar is ready, starting"
exec {never}>&-
exec seid start --home "$HOME"
`

// seidReadyScript asks seid's RPC whether it is in sync.
const seidReadyScript = `{ exec {rpc}<>/dev/tcp/127.0.0.1/26657; } 2>/dev/null || { echo "the RPC port is closed"; exit 1; }
trap : PIPE
printf 'GET /status HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' >&"$rpc"
IFS= read -r -d '' -t 3 -u "$rpc" answer
synced='"catching_up"[[:space:]]*:[[:space:]]*false'
[[ "$answer" =~ $synced ]] || { echo "the RPC does not say that it has caught up"; exit 1; }
`
