//go:build e2e

package e2e

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Scenario is one thing that happens to nodes in real life, and what seictl makes of it.
type Scenario struct {
	// Name of the scenario, for -run.
	Name string
	// Catalogue has the numbers of the failures that it covers.
	Catalogue []int
	// Happens says in one or two sentences what happens, See what one sees, and Do what to do about it.
	Happens, See, Do string
	// Kubelet says why the scenario needs a kubelet and real containers; empty for those that also run on simulated pods.
	Kubelet string
	// Gate is the tier on which the scenario is run for every change, by `make test`; empty for those that `make e2e-all` runs.
	Gate string
	// Alone is for scenarios that touch what others use, or that measure.
	Alone bool
	// Instead is what happened where that is not what the preview showed, in words such as "NodeUpdate failed at replace-pod,
	// NodeRollback complete; pod cycles: 2", the pod cycles where they are others than shown; of several such previews in order.
	// All others came true.
	Instead []string
	// Perhaps is a failure that previews may run into, or not: it depends on how fast something else comes round.
	Perhaps string
	// Run is the scenario.
	Run func(s *S)
}

// scenarios are the rows of all tables but that of the operator, which TestOperator runs.
func scenarios() []Scenario {
	return slices.Concat(toggles, edits, interruptions, rollbacks, issuances, secrets, pods, sidecars, platforms, badInputs, fleets)
}

func TestScenarios(t *testing.T) { runScenarios(t, scenarios()) }

// TestGate runs the scenarios that gate a change on this tier.
func TestGate(t *testing.T) {
	runScenarios(t, slices.DeleteFunc(scenarios(), func(sc Scenario) bool { return sc.Gate != tier() }))
}

func runScenarios(t *testing.T, all []Scenario) {
	t.Helper()
	shuffle(t, all)
	env, ran := newEnv(t), 0
	for _, sc := range all {
		t.Run(sc.Name, func(t *testing.T) {
			ran++
			// Those that run alone run first: parallel ones wait for the end of this function.
			if !sc.Alone {
				t.Parallel()
			}
			if sc.Kubelet != "" && tier() == tierSim {
				skipScenario(t, sc)
			}
			begun := time.Now()
			t.Cleanup(func() { record(t, sc, time.Since(begun)) })
			s := newS(t, env, sc.Name)
			sc.Run(s)
			s.requirePreviewsTrue(sc.Instead, sc.Perhaps)
		})
	}
	requireRows(t, ran)
}

// skipScenario skips one that needs a kubelet, and keeps that for the table at the end.
func skipScenario(t *testing.T, sc Scenario) {
	t.Helper()
	t.Cleanup(func() { record(t, sc, 0) })
	needsKubelet(t, sc.Kubelet)
}

// shuffle orders scenarios by E2E_SEED, which it prints: none may depend on another.
func shuffle(t *testing.T, all []Scenario) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("E2E_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		require.NoError(t, err, "E2E_SEED")
		seed = n
	}
	t.Logf("order of E2E_SEED=%d", seed)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
}
