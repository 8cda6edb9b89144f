// Package e2e is the end-to-end suite. It runs the real binaries, as a user would, against the cluster in $KUBECONFIG: the
// lab in e2e/lab. The tables of scenarios (table_*_test.go) say what goes wrong, what one sees and what to do about it; run
// them with `make e2e`. What a preview shows has to come true in every one of them (preview_truth_test.go).
//
//	E2E_SEED=n       replays the order of a run; each run prints its seed
//	E2E_PARALLEL=n   scenarios at once (4)
//	GOTESTFLAGS='-run TestScenarios/enable -v'   one scenario, with every command and its output
package e2e
