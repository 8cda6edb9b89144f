//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// promised takes the previews of what a command is about to do; it takes them a moment before the command starts, with the same
// eyes.
func (s *S) promised(args []string) (made []*promise) {
	s.Helper()
	if len(args) > 1 && args[0] == "fleet" && args[1] == "undo" {
		// What is undone has happened: the rollout kept its promises, or did not.
		s.foreseen()
	}
	plan := previewArgs(args)
	if plan == nil {
		return nil
	}
	for range previewAttempts {
		var same bool
		if made, same = s.preview(args, plan); same {
			break
		}
	}
	for _, p := range made {
		s.promises.mu.Lock()
		s.promises.made[p.node.Namespace] = append(s.promises.made[p.node.Namespace], p)
		s.promises.mu.Unlock()
	}
	return made
}

// previewAttempts is how often a preview is taken until no pod is replaced under it: whoever was killed a moment ago may have
// deleted one.
const previewAttempts = 5

// preview takes a preview and then looks how things stand; same says that the pods were the same before and after.
func (s *S) preview(args, plan []string) (made []*promise, same bool) {
	s.Helper()
	before, err := s.podUIDs()
	c := s.command(s.seictl, nil, plan...).start()
	r := <-c.ended
	if r.code != done {
		// Who may not even look, or asks for what is not there, is shown no preview.
		return nil, true
	}
	r.s = s
	r.requireSchema("node-plan.json")
	var list struct{ Items []shown }
	require.NoError(s, json.Unmarshal([]byte(r.out), &list), r.line)
	same = true
	for i := range list.Items {
		if !s.promises.watched(list.Items[i].Node.Namespace) {
			continue // a namespace that is not the scenario's: nobody has eyes on it
		}
		p := &promise{env: s.env, line: "seictl " + strings.Join(args, " "), shown: list.Items[i]}
		p.node = types.NamespacedName{Namespace: p.shown.Node.Namespace, Name: p.shown.Node.Name}
		require.NoError(s, p.begin(), r.line)
		if err == nil && p.node.Namespace == s.ns && p.objects.pod(p.node.Name) != before[p.node.Name+"-0"] {
			same = false
		}
		made = append(made, p)
	}
	return made, same
}

// podUIDs are the UIDs of the scenario's pods, by name.
func (s *S) podUIDs() (map[string]string, error) {
	var pods corev1.PodList
	if err := s.client.List(background(), &pods, client.InNamespace(s.ns)); err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	out := map[string]string{}
	for i := range pods.Items {
		out[pods.Items[i].Name] = string(pods.Items[i].UID)
	}
	return out, nil
}

// previewArgs are the arguments that preview a command; nil for one that drives nothing.
func previewArgs(args []string) []string {
	if len(args) < 3 || slices.Contains(args, "--dry-run") {
		return nil
	}
	switch args[0] + " " + args[1] {
	case "node apply":
	case "fleet enable-tls", "fleet disable-tls":
		return rolloutPreviewArgs(args)
	default:
		return nil
	}
	out := []string{"node", "plan", "-o", "json"}
	for i := 2; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--yes", a == "--skip-preflight", a == "--drive", strings.HasPrefix(a, "--lock-timeout"), strings.HasPrefix(a, "--timeout"):
		case a == "-o", a == "--output":
			i++
		case i == 2 && isFile(a), a == "--plan":
			if a == "--plan" {
				i++
			}
			out = append(out, "--show", args[i])
		default:
			out = append(out, a)
		}
	}
	return out
}

// rolloutPreviewArgs preview what a rollout makes of each node: the same as an apply of its own.
func rolloutPreviewArgs(args []string) []string {
	out := []string{"node", "plan", "-o", "json", "-A"}
	if args[1] == "disable-tls" {
		out = append(out, "--no-tls")
	} else {
		out = append(out, "--tls")
	}
	for i := 2; i+1 < len(args); i++ {
		switch args[i] {
		case "--chain", "--issuer", "--issuer-kind", "--secret", "-l":
			out = append(out, args[i], args[i+1])
		}
	}
	return out
}

// foresee takes the previews of what an operator is about to make of an edit, and closes those before.
func (s *S) foresee(args ...string) {
	s.Helper()
	if !s.operated {
		return
	}
	for _, p := range s.promised(append([]string{"node", "apply"}, args...)) {
		s.promises.closeBefore(p)
		p.waits = true
	}
}

// foreseen closes the promises of commands that have ended: the next thing is about to happen.
func (s *S) foreseen() {
	s.Helper()
	for _, p := range s.promises.of(s.ns) {
		if p.waits {
			p.close()
		}
	}
}

// foreseen closes the promises about the node: what was foreseen has happened.
func (n *Node) foreseen() {
	n.s.Helper()
	for _, p := range n.s.promises.of(n.s.ns) {
		if p.waits && p.node.Name == n.name {
			p.close()
		}
	}
}

func isFile(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
