package lock

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHolderRoundTrip(t *testing.T) {
	for identity, want := range map[string]Holder{
		"cli/alice@host/1234#boot=b-1,pidns=4026,start=99": {Kind: KindCLI, User: "alice", Host: "host", PID: 1234,
			BootID: "b-1", PIDNamespace: "4026", StartTime: 99},
		"cli/alice@host/1234":              {Kind: KindCLI, User: "alice", Host: "host", PID: 1234},
		"cli/a@corp@host.x/7":              {Kind: KindCLI, User: "a@corp", Host: "host.x", PID: 7},
		"cli/alice@mac.local/7#nonce=ABCD": {Kind: KindCLI, User: "alice", Host: "mac.local", PID: 7, Nonce: "ABCD"},
		"operator/seictl-0":                {Kind: KindOperator, Pod: "seictl-0"},
		"operator/seictl-0#boot=b,pidns=1,pid=1,start=5": {Kind: KindOperator, Pod: "seictl-0", PID: 1,
			BootID: "b", PIDNamespace: "1", StartTime: 5},
		"":                    {},
		"node-7_9f86d081":     {Raw: "node-7_9f86d081"},
		"cli/alice@host/zero": {Raw: "cli/alice@host/zero"},
		"cli/alice/12":        {Raw: "cli/alice/12"},
		"cli/":                {Raw: "cli/"},
	} {
		t.Run(identity, func(t *testing.T) {
			require.Equal(t, want, ParseHolder(identity))
			require.Equal(t, identity, want.String())
		})
	}
	future := ParseHolder("cli/alice@host/1#boot=b,colour=blue,start=x")
	require.Equal(t, Holder{Kind: KindCLI, User: "alice", Host: "host", PID: 1, BootID: "b"}, future)
}

func TestDisplay(t *testing.T) {
	require.Equal(t, "alice@host (pid 1234)", ParseHolder("cli/alice@host/1234#boot=b").Display())
	require.Equal(t, "operator pod seictl-0", ParseHolder("operator/seictl-0").Display())
	require.Equal(t, "node-7_9f86", ParseHolder("node-7_9f86").Display())
	require.Equal(t, "nobody", Holder{}.Display())
}

func TestSelf(t *testing.T) {
	h := Self(KindCLI)
	require.Equal(t, os.Getpid(), h.PID)
	require.NotEmpty(t, h.User)
	require.NotEmpty(t, h.Host)
	require.Equal(t, h, ParseHolder(h.String()))
	t.Setenv("POD_NAME", "seictl-0")
	op := Self(KindOperator)
	require.Equal(t, "seictl-0", op.Pod)
	require.Equal(t, op, ParseHolder(op.String()))
	if runtime.GOOS == "linux" {
		require.NotEmpty(t, h.BootID)
		require.NotEmpty(t, h.PIDNamespace)
		require.NotZero(t, h.StartTime)
		require.Empty(t, h.Nonce)
		require.False(t, h.gone(h, lookUp), "we are here")
	}
}

func TestCleanKeepsSeparatorsOut(t *testing.T) {
	require.Equal(t, "CORP_alice_x", clean(`CORP\alice#x`))
}

func TestGoneNeedsProof(t *testing.T) {
	self := Holder{Kind: KindCLI, PID: 1, BootID: "b", PIDNamespace: "n", StartTime: 1}
	other := Holder{Kind: KindCLI, PID: 2, BootID: "b", PIDNamespace: "n", StartTime: 5}
	type look = func(int) (uint64, bool, error)
	there := func(int) (uint64, bool, error) { return 5, true, nil }
	away := func(int) (uint64, bool, error) { return 0, false, nil }
	successor := func(int) (uint64, bool, error) { return 6, true, nil }
	unknown := func(int) (uint64, bool, error) { return 0, false, errors.New("denied") }
	with := func(edit func(*Holder)) Holder { h := other; edit(&h); return h }
	for name, tc := range map[string]struct {
		holder Holder
		look   look
		want   bool
	}{
		"alive":                 {other, there, false},
		"pid not there":         {other, away, true},
		"pid is somebody else":  {other, successor, true},
		"cannot tell":           {other, unknown, false},
		"another boot":          {with(func(h *Holder) { h.BootID = "c" }), away, false},
		"another PID namespace": {with(func(h *Holder) { h.PIDNamespace = "m" }), away, false},
		"no boot id":            {with(func(h *Holder) { h.BootID = "" }), away, false},
		"no start time":         {with(func(h *Holder) { h.StartTime = 0 }), away, false},
		"no pid":                {with(func(h *Holder) { h.PID = 0 }), away, false},
		"not ours":              {Holder{Raw: "x"}, away, false},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, tc.holder.gone(self, tc.look)) })
	}
	blank := Holder{Kind: KindCLI, PID: 2, StartTime: 5}
	require.False(t, blank.gone(Holder{Kind: KindCLI}, away), "two blanks are not the same machine")
}
