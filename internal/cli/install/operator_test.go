package install

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/internal/cli/factory"
)

func TestOperatorCommand(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		says []string
		err  string
	}{
		"prints": {
			args: []string{"--image", "registry.example/seictl:v1"},
			says: []string{"image: registry.example/seictl:v1", "kind: PodDisruptionBudget", "name: seictl-metrics-reader", "readOnlyRootFilesystem: true"},
		},
		"no image":      {err: "--image is required"},
		"a bad image":   {args: []string{"--image", "a b"}, err: `--image: image "a b"`},
		"a bad output":  {args: []string{"--image", "x", "-o", "json"}, err: `-o: found "json", wanted yaml`},
		"one argument":  {args: []string{"x"}, err: "unknown argument"},
		"unknown flags": {args: []string{"--imgae", "x"}, err: "--imgae"},
	} {
		t.Run(name, func(t *testing.T) {
			out := &bytes.Buffer{}
			f := factory.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: out, ErrOut: &bytes.Buffer{}})
			cmd := NewCmdOperator(f, nil)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(append([]string{}, tc.args...))
			err := cmd.ExecuteContext(t.Context())
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			for _, want := range tc.says {
				require.Contains(t, out.String(), want)
			}
		})
	}
}
