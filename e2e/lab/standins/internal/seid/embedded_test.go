package seid

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/e2e/lab/standins/internal/faults"
)

// embedded is a seid that opens its RPC somewhere, and the channel that is closed when it has.
func embedded(t *testing.T) (Embedded, chan struct{}) {
	t.Helper()
	open := make(chan struct{})
	home := t.TempDir()
	require.NoError(t, Init(home, "n", "c"))
	return Embedded{
		Home: home, Version: "v1", Killed: make(chan struct{}), Serving: func(http.Handler) {},
		Listen: func(string) (net.Listener, error) {
			defer close(open)
			return net.Listen("tcp", "127.0.0.1:0")
		},
		Changed: func() {},
	}, open
}

func TestAnEmbeddedSeidClosesItsDatabase(t *testing.T) {
	e, open := embedded(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx, faults.NewClient(nil)) }()
	<-open
	second := e
	require.ErrorIs(t, second.Run(t.Context(), faults.NewClient(nil)), errVolumeInUse, "two on one volume")
	stop()
	require.NoError(t, <-ended)
	require.FileExists(t, filepath.Join(e.Home, stopsFile))
	require.FileExists(t, filepath.Join(e.Home, conflictFile))
}

func TestAnEmbeddedSeidThatIsKilledLeavesNoStop(t *testing.T) {
	e, open := embedded(t)
	killed := make(chan struct{})
	e.Killed, e.Closing = killed, time.Hour
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx, faults.NewClient(nil)) }()
	<-open
	stop()
	close(killed)
	require.ErrorIs(t, <-ended, errKilled)
	_, err := os.Stat(filepath.Join(e.Home, stopsFile))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAHeightThatFollowsTheClockStopsAndGoesOn(t *testing.T) {
	c := &chain{home: home(t.TempDir()), faults: &faults.Source{}, interval: time.Second, height: 7, blockTime: time.Now()}
	at := func(d time.Duration) time.Time { return c.blockTime.Add(d) }
	c.follow(at(2500 * time.Millisecond))
	require.EqualValues(t, 9, c.height)
	c.setStuck(true, at(time.Second))
	require.EqualValues(t, 10, c.height)
	c.follow(at(5 * time.Second))
	require.EqualValues(t, 10, c.height)
	c.setStuck(false, at(0))
	c.follow(at(time.Second))
	require.EqualValues(t, 11, c.height)
}
