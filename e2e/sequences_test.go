//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
)

// batch is how many nodes go through their sequences at once.
const batch = 50

// TestSequences has nodes go through random sequences of edits, faults and evictions, while the operator that drives them is
// killed again and again. SEQUENCES says how many (made for the sim tier: `make sequences`), SEQUENCE replays one.
func TestSequences(t *testing.T) {
	first, count := 1, 0
	switch {
	case os.Getenv("SEQUENCE") != "":
		count = 1
	case os.Getenv("SEQUENCES") == "":
		t.Skip("neither SEQUENCES nor SEQUENCE is set")
	}
	s := newS(t, newEnv(t), "sequences")
	s.operated = true
	first, count = number(s, "SEQUENCE", first), max(count, number(s, "SEQUENCES", count))
	s.chainBudget(10 * batch)
	eyes, ca := s.watchNamespace(), s.authority()
	offset := s.auditSize()
	stop := s.mortalOperator(uint64(first))
	for from := first; from < first+count; from += batch {
		s.runBatch(from, min(batch, first+count-from), eyes, ca)
	}
	stop()
	s.requireGatedDeletes(offset, eyes)
	s.requireRollbacks(eyes)
	require.NotZero(s, eyes.stamped(), "no stamp was compared with a handshake")
}

// mortalOperator runs an operator that is killed, as by kill -9, at random moments, until stop is called.
func (s *S) mortalOperator(seed uint64) (stop func()) {
	s.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			op := s.benchOperator()
			timer := time.NewTimer(time.Duration(3000+r.IntN(9000)) * time.Millisecond)
			select {
			case <-timer.C:
				_ = op.cmd.Process.Kill()
				<-op.ended
			case <-ending:
				_ = op.cmd.Process.Kill()
				<-op.ended
				return
			}
		}
	}()
	return func() { close(ending); <-ended }
}

// runBatch has n nodes go through the sequences from..from+n-1 and requires that all of them settle.
func (s *S) runBatch(from, n int, eyes *eyes, ca *authority) {
	s.Helper()
	begun := time.Now()
	var all sync.WaitGroup
	for seed := from; seed < from+n; seed++ {
		w := &wanderer{s: s, rand: rand.New(rand.NewPCG(uint64(seed), 0)), seed: seed, name: fmt.Sprintf("s-%d", seed), eyes: eyes, ca: ca}
		all.Go(w.wander)
	}
	all.Wait()
	require.False(s, s.Failed())
	versions := map[string]string{}
	for seed := from; seed < from+n; seed++ {
		node := &Node{s: s, name: fmt.Sprintf("s-%d", seed)}
		node.requireSettled(seed)
		versions[node.name] = node.get().ResourceVersion
	}
	s.pass(3 * time.Second)
	for name, version := range versions {
		require.Equal(s, version, (&Node{s: s, name: name}).get().ResourceVersion, "a settled node is not written: %s", name)
		s.delete(name, &v1alpha1.SeiNode{})
	}
	require.Empty(s, eyes.wrongs(), "SEQUENCE=N replays the one of node s-N")
	s.Logf("sequences %d to %d: %.0fs", from, from+n-1, time.Since(begun).Seconds())
}

// wanderer is one node on its way.
type wanderer struct {
	s     *S
	rand  *rand.Rand
	seed  int
	name  string
	eyes  *eyes
	ca    *authority
	story []string
}

func (w *wanderer) tell(format string, args ...any) {
	w.story = append(w.story, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// wander creates the node, lets ten things happen to it, makes all well again and waits until it is as its spec says.
func (w *wanderer) wander() {
	settled := false
	defer func() {
		if !settled {
			w.s.Errorf("sequence %d (SEQUENCE=%d replays it) did not settle: %v\n%v", w.seed, w.seed, w.story, w.node().Status)
		}
	}()
	node := w.s.manifest(w.name)
	w.provide(true)
	w.issue(true)
	if w.rand.IntN(2) == 0 {
		node.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: byIssuer(issuerA)}
	}
	if err := w.s.client.Create(w.s.Context(), node); err != nil {
		w.tell("creating it: %v", err)
		return
	}
	if !w.until(func(o *v1alpha1.SeiNode) bool { return isReady(o) }) {
		return
	}
	for range 10 {
		w.happen()
		w.s.pass(time.Duration(w.rand.IntN(1500)) * time.Millisecond)
	}
	w.tell("all is well again")
	w.heal()
	w.provide(true)
	w.issue(true)
	w.edit(func(o *v1alpha1.SeiNode) { o.Spec.Paused = false })
	settled = w.until(func(o *v1alpha1.SeiNode) bool {
		want := drift.Target(o)
		if o.Status.Hold != nil && !o.Status.Plan.Active() && o.Status.Hold.RetrySeen == o.Annotations[v1alpha1.AnnotationRetryRequestedAt] {
			// What went wrong before is over, and what it led to is held: it is for a user to say so.
			w.tell("retry: %s", o.Status.Hold.Reason)
			w.edit(func(o *v1alpha1.SeiNode) {
				metav1.SetMetaDataAnnotation(&o.ObjectMeta, v1alpha1.AnnotationRetryRequestedAt, time.Now().Format(time.RFC3339Nano))
			})
		}
		return isReady(o) && !o.Status.Plan.Active() && o.Status.CurrentImage == want.Image &&
			o.Status.CurrentSidecarTLS.Config().Equal(want.SidecarTLS)
	})
}

// happen is one thing that users and machines do.
func (w *wanderer) happen() {
	switch w.rand.IntN(16) {
	case 0, 1:
		image := []string{imageV1, imageV2}[w.rand.IntN(2)]
		w.tell("image %s", image)
		w.edit(func(o *v1alpha1.SeiNode) { o.Spec.Image = image })
	case 2, 3, 4, 5:
		own := &v1alpha1.SidecarTLSConfig{IssuerName: w.issuer(), IssuerKind: v1alpha1.IssuerKindIssuer}
		tls := []*v1alpha1.SidecarTLSConfig{nil, byIssuer(issuerA), byIssuer(issuerB), own, bySecret(w.secret()), bySecret(w.secret())}[w.rand.IntN(6)]
		consent := w.rand.IntN(2) == 0
		w.tell("TLS %s, consent %t", tls, consent)
		w.edit(func(o *v1alpha1.SeiNode) {
			o.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: tls}
			if tls == nil && consent {
				metav1.SetMetaDataAnnotation(&o.ObjectMeta, v1alpha1.AnnotationAllowTLSRemoval, "true")
			}
		})
	case 6:
		paused := w.rand.IntN(3) == 0
		w.tell("paused %t", paused)
		w.edit(func(o *v1alpha1.SeiNode) { o.Spec.Paused = paused })
	case 7, 8:
		f := [][2]string{{proxy, "crash-loop"}, {proxy, "wrong-leaf"}, {proxy, "no-tls"}, {proxy, "forbid"},
			{sidecar, "refuse-mark-ready"}, {sidecar, "status-503"}, {seid, "catching-up"}}[w.rand.IntN(7)]
		w.tell("%s: %s", f[0], f[1])
		w.disturb(func() { w.s.registry(w.s.Context(), http.MethodPut, w.faults(f[0])+"/"+f[1], map[string]any{}) })
	case 9:
		w.tell("no fault")
		w.heal()
	case 10:
		w.tell("the pod is evicted")
		w.remove(w.name+"-0", &corev1.Pod{})
	case 11:
		w.tell("the Certificate is deleted")
		w.remove(w.name+"-sidecar-tls", &cmv1.Certificate{})
	case 12:
		w.tell("the Secret is deleted")
		w.remove(w.name+"-sidecar-tls", &corev1.Secret{})
	case 13, 14:
		w.changeSecret()
	case 15:
		there := w.rand.IntN(2) == 0
		w.tell("its Issuer is there: %t", there)
		w.issue(there)
	}
}

func (w *wanderer) faults(container string) string { return w.s.ns + "/" + w.name + "-0/" + container }

func (w *wanderer) heal() {
	w.disturb(func() {
		for _, c := range []string{proxy, sidecar, seid} {
			w.s.registry(w.s.Context(), http.MethodDelete, w.faults(c), nil)
		}
	})
}

func (w *wanderer) node() *v1alpha1.SeiNode {
	var o v1alpha1.SeiNode
	if err := w.s.get(w.name, &o); err != nil {
		w.tell("reading it: %v", err)
	}
	return &o
}

func (w *wanderer) edit(change func(*v1alpha1.SeiNode)) {
	before := w.node()
	after := before.DeepCopy()
	change(after)
	if err := w.s.client.Patch(w.s.Context(), after, client.MergeFrom(before), client.FieldOwner("kubectl-edit")); err != nil {
		w.tell("editing it: %v", err)
	}
}

func (w *wanderer) remove(name string, o client.Object) {
	o.SetName(name)
	o.SetNamespace(w.s.ns)
	w.disturb(func() {
		if err := client.IgnoreNotFound(w.s.client.Delete(w.s.Context(), o)); err != nil {
			w.tell("deleting %s: %v", name, err)
		}
	})
}

// until waits for the node to be as check wants it, and says whether it came to that.
func (w *wanderer) until(check func(*v1alpha1.SeiNode) bool) bool {
	for end := time.Now().Add(6 * time.Minute); time.Now().Before(end) && !w.s.Failed(); {
		if check(w.node()) {
			return true
		}
		w.s.pass(300 * time.Millisecond)
	}
	return false
}

// requireSettled requires that what the status says is what is there and what is served.
func (n *Node) requireSettled(seed int) {
	n.s.Helper()
	sts, pod, node := n.statefulSet(), n.pod(), n.get()
	require.Equal(n.s, sts.Status.UpdateRevision, pod.Labels["controller-revision-hash"], "sequence %d: an eviction would bring nothing new", seed)
	if tls := node.Status.CurrentSidecarTLS; tls != nil {
		n.requireTLS(tls.Config().String())
		return
	}
	// The Secret of a Certificate that somebody deleted stays: nobody knows any more that it was issued for the node.
	n.requireGone(n.certificateName(), &cmv1.Certificate{})
	n.requireGone(n.name+"-rbac-proxy-config", &corev1.ConfigMap{})
	require.Nil(n.s, containerNamed(pod, proxy), "sequence %d", seed)
}

// containerNamed is an init container of a pod; nil without one of that name.
func containerNamed(pod *corev1.Pod, name string) *corev1.Container {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i]
		}
	}
	return nil
}
