//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
)

// faultRegistry is where the lab's stand-ins are told to misbehave; see e2e/lab/faults.
var faultRegistry = tierURL(9900, 19900, "/faults/")

// Containers of a node's pod.
const (
	proxy   = "kube-rbac-proxy"
	sidecar = "sei-sidecar"
	seid    = "seid"
)

// fault tells a container of the node to misbehave; see e2e/lab/standins/kinds.
func (n *Node) fault(container, kind string, params map[string]any) {
	n.s.Helper()
	path := n.s.ns + "/" + n.podName() + "/" + container
	n.s.registry(n.s.Context(), http.MethodPut, path+"/"+kind, map[string]any{"params": params})
	n.s.Cleanup(func() { n.s.registry(background(), http.MethodDelete, path, nil) })
}

// heal ends the misbehaviour of a container.
func (n *Node) heal(container string) {
	n.s.Helper()
	n.s.registry(n.s.Context(), http.MethodDelete, n.s.ns+"/"+n.podName()+"/"+container, nil)
}

func (s *S) registry(ctx context.Context, method, path string, body any) {
	s.Helper()
	data, err := json.Marshal(body)
	require.NoError(s, err)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, faultRegistry+path, bytes.NewReader(data))
	require.NoError(s, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(s, http.StatusOK, resp.StatusCode)
}

// lab runs a command of the lab, such as stop COMPONENT.
func (s *S) lab(args ...string) {
	s.Helper()
	out, err := exec.CommandContext(background(), "lab/lab.sh", args...).CombinedOutput()
	require.NoError(s, err, "lab %v: %s", args, out)
}

// stopped stops a component of the lab until the scenario ends or start is called.
func (s *S) stopped(component string) (start func()) {
	s.Helper()
	s.lab("stop", component)
	running := false
	start = func() {
		if !running {
			running = true
			s.lab("start", component)
		}
	}
	s.Cleanup(start)
	return start
}

// outageTime is how long the API server is away where it is taken away.
const outageTime = 30 * time.Second

// withoutAPIServer has the API server away for the whole time, also when drivers give up earlier.
func (s *S) withoutAPIServer() {
	s.Helper()
	start := s.stopped("kube-apiserver")
	time.Sleep(outageTime)
	start()
}

// mostRuns is how often a command that an outage ended may have to be given again.
const mostRuns = 2

// seenThrough requires that a command ends with one of the codes and, where that is not 0, that giving it again a few times
// finishes what it began. cert-manager comes round later than the API server: until its caches are current it issues the same
// certificate again and again, and a plan that waits for it may end. Who is on call looks at cert-manager first.
func (c *command) seenThrough(codes []int, again func() *command) {
	c.s.Helper()
	for run := 0; ; run++ {
		r := c.wait()
		require.Contains(c.s, codes, r.code, r.line)
		if r.code == done {
			return
		}
		require.Less(c.s, run, mostRuns, "the same command was given %d times more", run)
		c.s.awaitIssuance()
		c = again()
	}
}

// awaitIssuance waits until cert-manager issues what is asked of it.
func (s *S) awaitIssuance() {
	s.Helper()
	probe := &cmv1.Certificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, GenerateName: "probe-"},
		Spec:       cmv1.CertificateSpec{DNSNames: []string{"probe"}, IssuerRef: cmmeta.IssuerReference{Name: issuerA, Kind: "ClusterIssuer"}},
	}
	probe.Spec.SecretName = "probe-" + utilrand.String(5)
	s.create(probe)
	s.eventually("cert-manager issues", func() error {
		if err := s.get(probe.Name, probe); err != nil {
			return err
		}
		for _, c := range probe.Status.Conditions {
			if c.Type == cmv1.CertificateConditionReady && c.Status == cmmeta.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%+v", probe.Status.Conditions)
	})
}
