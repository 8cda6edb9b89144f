package node

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/internal/cli/exit"
)

func TestPlanBadInput(t *testing.T) {
	valid := planCase{}.manifest()
	with := func(old, new string) string { return strings.Replace(valid, old, new, 1) }
	for _, c := range []struct {
		name, manifest string
		args           []string
		want           string
	}{
		{"unknown field", with("  fullNode: {}", "  fullNode: {}\n  sidecar: {tsl: {}}"), nil,
			"standard input: SeiNode ax-0: unknown field spec.sidecar.tsl: did you mean spec.sidecar.tls?"},
		{"unknown field of other case", with("  fullNode: {}", "  fullnode: {}"), nil,
			"standard input: SeiNode ax-0: unknown field spec.fullnode: did you mean spec.fullNode?"},
		{"unknown field with no neighbour", with("  fullNode: {}", "  fullNode: {prune: true}"), nil,
			"standard input: SeiNode ax-0: unknown field spec.fullNode.prune: spec.fullNode takes no fields"},
		{"wrong type", with("  fullNode: {}", "  fullNode: {}\n  paused: soon"), nil,
			"standard input: SeiNode ax-0: spec.paused: found a string, wanted true or false"},
		{"number for a string", with("  fullNode: {}", "  fullNode: {}\n  overrides: {a: 1}"), nil,
			"standard input: SeiNode ax-0: spec.overrides.a: found 1, wanted a string (put it in quotes)"},
		{"two sources", with("  fullNode: {}", "  fullNode: {}\n  sidecar: {tls: {issuerName: a, secretName: b}}"), nil,
			`standard input: SeiNode ax-0: spec.sidecar.tls: found issuerName "a" and secretName "b", wanted exactly one of the two`},
		{"no source", with("  fullNode: {}", "  fullNode: {}\n  sidecar: {tls: {}}"), nil,
			"standard input: SeiNode ax-0: spec.sidecar.tls: found neither issuerName nor secretName, wanted exactly one of the two"},
		{"kind beside secret", with("  fullNode: {}", "  fullNode: {}\n  sidecar: {tls: {issuerKind: Issuer, secretName: b}}"), nil,
			`standard input: SeiNode ax-0: spec.sidecar.tls.issuerKind: found "Issuer" beside secretName "b", wanted it beside issuerName only`},
		{"reserved Secret", with("  fullNode: {}", "  fullNode: {}\n  sidecar: {tls: {secretName: ax-0-sidecar-tls}}"), nil,
			`standard input: SeiNode ax-0: spec.sidecar.tls.secretName: found "ax-0-sidecar-tls", which is the name of the Secret that seictl has issued: name the Secret that you provision differently`},
		{"two modes", with("  fullNode: {}", "  fullNode: {}\n  archive: {}"), nil,
			"standard input: SeiNode ax-0: spec: found the modes fullNode and archive, wanted exactly one"},
		{"no mode", with("  fullNode: {}\n", ""), nil,
			"standard input: SeiNode ax-0: spec: found no mode, wanted exactly one of fullNode, archive, replayer and validator (for example 'fullNode: {}')"},
		{"bad name", with("name: ax-0", "name: 0ax"), nil,
			`standard input: SeiNode 0ax: metadata.name: found "0ax" (3 characters), wanted lower-case letters, digits and '-', starting with a letter, at most 52 characters: it becomes the name of the StatefulSet, its pod and their labels`},
		{"other kind", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", nil,
			`standard input: kind: found ConfigMap "x", wanted SeiNode or SeiNodeDeployment: apply other objects with kubectl`},
		{"second document", valid + "---\nkind: Nothing\n", nil,
			`standard input, document 2: kind: found Nothing "", wanted SeiNode or SeiNodeDeployment: apply other objects with kubectl`},
		{"twice", valid + "---\n" + valid, nil,
			"standard input, document 2: SeiNode fleet/ax-0 is given twice, first in standard input: leave one out"},
		{"duplicate key", with("  fullNode: {}", "  fullNode: {}\n  image: b"), nil,
			`standard input is not valid YAML: yaml: unmarshal errors: line 10: key "image" already set in map`},
		{"empty", "---\n", nil, "standard input holds no object: wanted a SeiNode, a SeiNodeDeployment or a list of them"},
		{"issuer and secret flags", valid, []string{"--tls", "--issuer", "a", "--secret", "b"},
			"--issuer a and --secret b exclude each other: choose one source of the certificate"},
		{"issuer without tls", valid, []string{"--issuer", "a"}, "--issuer needs --tls: add --tls"},
		{"tls and no-tls", valid, []string{"--tls", "--no-tls"}, "--tls and --no-tls exclude each other: choose one"},
		{"bad kind flag", valid, []string{"--tls", "--issuer", "a", "--issuer-kind", "Vault"},
			`--issuer-kind: found "Vault", wanted ClusterIssuer or Issuer`},
		{"no default issuer", valid, []string{"--tls"},
			"SeiNode fleet/ax-0: --tls: no default issuer for chain arctic-1: add --issuer NAME or --secret NAME, or set chains.arctic-1.issuerName in ConfigMap sei-system/seictl-config"},
		{"name beside file", valid, []string{"ax-0"}, "NAME and -f exclude each other: the file names its nodes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, _, err := runPlan(t, c.manifest, c.args...)
			require.EqualError(t, err, c.want)
			require.Equal(t, exit.Failure, exit.Code(err))
			require.Empty(t, out)
		})
	}
}

func TestPlanUnreadableFile(t *testing.T) {
	f, _ := offline(t)
	cmd := NewCmdPlan(f, nil)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{"-f", "/does/not/exist"})
	require.EqualError(t, cmd.ExecuteContext(t.Context()),
		"file /does/not/exist does not exist: -f takes a file, or '-' for standard input")
}

func TestPlanNeedsSelection(t *testing.T) {
	f, _ := offline(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{}, "no node named: give NAME, -f FILE, -l SELECTOR or --chain CHAIN"},
		{[]string{"ax-0", "--chain", "c"}, "-l, --chain and -A do not go with NAME or -f: choose one way to name the nodes"},
		{[]string{"-l", "a in"}, `-l "a in" is no label selector: wanted for example fleet=syncer`},
		{[]string{"ax-0"}, "no cluster: no kubeconfig with a cluster was found; next: set KUBECONFIG or --kubeconfig and --context, and check with 'kubectl version'"},
	} {
		cmd := NewCmdPlan(f, nil)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(c.args)
		require.EqualError(t, cmd.ExecuteContext(t.Context()), c.want)
	}
}
