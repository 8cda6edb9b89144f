package faultreg

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sei.io/seictl/e2e/lab/faults"
)

// serve opens the registry of a file and a client of one container.
func serve(t *testing.T, file string) *faults.Client {
	t.Helper()
	registry, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.Handler())
	t.Cleanup(server.Close)
	return &faults.Client{URL: server.URL, Namespace: "ns", Pod: "node-0", Container: "seid"}
}

func TestFaultsAreSetReplacedAndCleared(t *testing.T) {
	ctx := t.Context()
	c := serve(t, filepath.Join(t.TempDir(), "faults.json"))
	state, err := c.Get(ctx)
	if err != nil || state.Generation != 0 || len(state.Faults) != 0 {
		t.Fatalf("at first: %+v, %v", state, err)
	}
	for _, kind := range []string{"hang", "crash", "hang"} {
		if state, err = c.Set(ctx, kind, map[string]int{"seconds": 3}); err != nil {
			t.Fatal(err)
		}
	}
	if state.Generation != 3 || len(state.Faults) != 2 || state.Faults[0].Kind != "crash" {
		t.Fatalf("after three sets of two kinds: %+v", state)
	}
	var params struct{ Seconds int }
	hang, ok := state.Get("hang")
	if err := hang.Decode(&params); !ok || err != nil || params.Seconds != 3 {
		t.Fatalf("params: %+v, %v", params, err)
	}
	if state, err = c.Clear(ctx, "hang"); err != nil || len(state.Faults) != 1 {
		t.Fatalf("after clearing one: %+v, %v", state, err)
	}
	if state, err = c.Clear(ctx, ""); err != nil || len(state.Faults) != 0 || state.Generation != 5 {
		t.Fatalf("after clearing all: %+v, %v", state, err)
	}
	if state, err = c.Clear(ctx, ""); err != nil || state.Generation != 5 {
		t.Fatalf("clearing nothing is no change: %+v, %v", state, err)
	}
}

func TestFaultsAndGenerationsSurviveARestart(t *testing.T) {
	ctx, file := t.Context(), filepath.Join(t.TempDir(), "faults.json")
	if _, err := serve(t, file).Set(ctx, "crash", nil); err != nil {
		t.Fatal(err)
	}
	c := serve(t, file)
	state, err := c.Get(ctx)
	if err != nil || state.Generation != 1 || len(state.Faults) != 1 {
		t.Fatalf("after a restart: %+v, %v", state, err)
	}
	if state, err = c.Clear(ctx, ""); err != nil || state.Generation != 2 {
		t.Fatalf("a generation was used twice: %+v, %v", state, err)
	}
}

func TestWatchSeesEveryStateItIsLeftIn(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c := serve(t, filepath.Join(t.TempDir(), "faults.json"))
	seen := make(chan faults.State, 10)
	go c.Watch(ctx, func(s faults.State) { seen <- s })
	if s := <-seen; len(s.Faults) != 0 {
		t.Fatalf("at first: %+v", s)
	}
	if _, err := c.Set(ctx, "crash", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-seen:
		if _, ok := s.Get("crash"); !ok {
			t.Fatalf("after the change: %+v", s)
		}
	case <-ctx.Done():
		t.Fatal("the change was not seen")
	}
}

func TestFollowersAreToldOfTheirContainer(t *testing.T) {
	r, err := Open(filepath.Join(t.TempDir(), "faults.json"))
	if err != nil {
		t.Fatal(err)
	}
	var told []int
	end := r.Follow("ns", "pod", "c", func(s faults.State) { told = append(told, len(s.Faults)) })
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	set := func(container string) {
		c := &faults.Client{URL: server.URL, Namespace: "ns", Pod: "pod", Container: container}
		if _, err := c.Set(t.Context(), "k", nil); err != nil {
			t.Fatal(err)
		}
	}
	set("c")
	set("other")
	if got := r.State("ns", "pod", "c"); len(got.Faults) != 1 {
		t.Fatalf("%+v", got)
	}
	end()
	set("c")
	if !slices.Equal(told, []int{0, 1}) {
		t.Fatalf("told %v", told)
	}
}
