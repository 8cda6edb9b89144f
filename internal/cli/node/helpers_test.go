package node

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/ui"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// streams of a test.
type streams struct{ in, out, errOut *bytes.Buffer }

// offline is a factory without a cluster.
func offline(t *testing.T) (*factory.Factory, *streams) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("KUBECONFIG", filepath.Join(home, "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBERNETES_MASTER", "")
	s := &streams{&bytes.Buffer{}, &bytes.Buffer{}, &bytes.Buffer{}}
	f := factory.New(genericiooptions.IOStreams{In: s.in, Out: s.out, ErrOut: s.errOut})
	f.Flags = genericclioptions.NewConfigFlags(false)
	f.Terminal = ui.Terminal{Width: 80}
	f.Now = func() time.Time { return now }
	return f, s
}
