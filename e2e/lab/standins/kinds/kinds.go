// Package kinds names every fault that the stand-ins know, for them and for the tests that set them.
package kinds

// Faults of the proxy (container "kube-rbac-proxy").
const (
	// WrongLeaf serves a freshly self-signed leaf for the names of the real one.
	WrongLeaf = "wrong-leaf"
	// StaleLeaf stops re-reading the certificate files, so that a renewed leaf is never served.
	StaleLeaf = "stale-leaf"
	// NoTLS answers plain HTTP on the secure port.
	NoTLS = "no-tls"
	// HangHandshake accepts connections and swallows the client's hello without ever answering.
	HangHandshake = "hang-handshake"
	// NoReview answers 401 and logs what a proxy logs that may not create TokenReviews.
	NoReview = "no-review"
	// Forbid answers 403 to every caller that authenticated, whatever the API server allows.
	Forbid = "forbid"
)

// Faults of the sidecar (container "sei-sidecar").
const (
	// Status503 keeps healthz and startupz at 503, even after mark-ready was executed.
	Status503 = "status-503"
	// Status401 answers 401 on every authenticated path, whoever calls.
	Status401 = "status-401"
	// Hang answers no request at all until the fault is lifted.
	Hang = "hang"
	// FailTask makes tasks of the type in params.type fail with the text in params.error (TaskParams); without a type
	// all of them.
	FailTask = "fail-task"
	// LoseTask accepts tasks with a 201 and forgets them at once: they never run and GET says 404. With params.type
	// (TaskParams) only tasks of that type are lost.
	LoseTask = "lose-task"
	// Restart ends the running process once per generation in which it is set; a process that finds it at its own
	// start runs on, or it would never come back.
	Restart = "restart"
	// RefuseMarkReady answers 500 to the POST of a mark-ready task.
	RefuseMarkReady = "refuse-mark-ready"
)

// Faults of seid (container "seid").
const (
	// SlowStop takes params.seconds (SlowStopParams) to close the database after SIGTERM.
	SlowStop = "slow-stop"
	// CatchingUp reports catching_up=true on the RPC's /status.
	CatchingUp = "catching-up"
	// StuckHeight makes no more blocks.
	StuckHeight = "stuck-height"
)

// Faults of both the proxy and seid.
const (
	// CrashLoop exits 1 at every start, and at once if the process is running.
	CrashLoop = "crash-loop"
)

// TaskParams are the params of FailTask and LoseTask.
type TaskParams struct {
	// Type is the task type to hit, every one when empty.
	Type string `json:"type,omitempty"`
	// Error is what a failed task reports.
	Error string `json:"error,omitempty"`
}

// SlowStopParams are the params of SlowStop.
type SlowStopParams struct {
	// Seconds from SIGTERM to the end of the process; fractions are fine.
	Seconds float64 `json:"seconds"`
}
