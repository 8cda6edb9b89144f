package faults

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	registry "sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

func state(generation int64, kinds ...string) registry.State {
	s := NewSource(kinds...).Current()
	s.Generation = generation
	return s
}

// serve answers every question with the next state of a list and then holds the poll.
func serve(t *testing.T, states ...registry.State) (address string, asked chan string) {
	t.Helper()
	asked = make(chan string, len(states)+1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.RequestURI()
		if len(states) == 0 {
			<-r.Context().Done()
			return
		}
		_ = json.NewEncoder(w).Encode(states[0])
		states = states[1:]
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL, asked
}

func TestWatchTellsBirthFromChange(t *testing.T) {
	t.Parallel()
	address, asked := serve(t, state(3, kinds.Restart), state(3, kinds.Restart), state(4, kinds.Hang))
	client := NewClient(&registry.Client{URL: address, Namespace: "n", Pod: "p", Container: "c"})
	type change struct {
		generation int64
		born       bool
	}
	changes := make(chan change, 4)
	client.OnChange = func(s registry.State, born bool) { changes <- change{s.Generation, born} }
	go client.Watch(t.Context())

	require.Equal(t, change{3, true}, <-changes)
	require.Equal(t, change{4, false}, <-changes, "a poll that ends without a change is none")
	require.Equal(t, "/faults/n/p/c", <-asked, "the first question does not wait")
	require.True(t, client.Source.Has(kinds.Hang))
	require.False(t, client.Source.Has(kinds.Restart))
}

func TestNoRegistryMeansNoFaults(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	t.Setenv(urlEnv, server.URL)
	require.Empty(t, FromEnvironment(t.Context(), "seid").Source.Current())
}

func TestFirstQuestionNamesTheContainer(t *testing.T) {
	address, asked := serve(t, state(1, kinds.CrashLoop))
	t.Setenv(urlEnv, address)
	t.Setenv("POD_NAMESPACE", "ns-1")
	client := FromEnvironment(t.Context(), "seid")
	require.True(t, client.Source.Has(kinds.CrashLoop), "known before anything listens")
	require.Regexp(t, `^/faults/ns-1/[^/]+/seid$`, <-asked)
}

func TestFaultsCanBeSwitchedOff(t *testing.T) {
	t.Setenv(urlEnv, urlOff)
	client := FromEnvironment(t.Context(), "seid")
	client.Watch(t.Context()) // returns by itself
	require.Empty(t, client.Source.Current())
}

func TestChangedWakesWaiters(t *testing.T) {
	t.Parallel()
	source := NewSource(kinds.Hang)
	changed := source.Changed()
	require.True(t, source.Has(kinds.Hang))
	source.Store(state(1))
	<-changed
	require.False(t, source.Has(kinds.Hang))
}
