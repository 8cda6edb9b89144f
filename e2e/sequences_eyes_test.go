//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// eyes see every version of the namespace's nodes, StatefulSets, pods and Secrets. Versions of all kinds come from one
// counter, so that what one was when another changed is known exactly.
type eyes struct {
	s        *S
	mu       sync.Mutex
	versions map[string][]version
	plans    map[string][]seenPlan
	ended    map[string]bool
	// rollbacks that were complete.
	rollbacks []rolledBack
	// touched is when a node was last disturbed; see wanderer.disturb.
	touched map[string]time.Time
	stamps  int
	wrong   []string
}

// version is an object as it was from a number on, seen at a time; without an object it was gone.
type version struct {
	number uint64
	seen   time.Time
	object client.Object
}

// slack is how long before a pass told what it did it may have looked: between the two lie requests on a busy machine.
const slack = 2 * time.Second

// watchNamespace watches until the scenario ends.
func (s *S) watchNamespace() *eyes {
	s.Helper()
	e := &eyes{s: s, versions: map[string][]version{}, plans: map[string][]seenPlan{}, ended: map[string]bool{}, touched: map[string]time.Time{}}
	for _, list := range []client.ObjectList{&v1alpha1.SeiNodeList{}, &appsv1.StatefulSetList{}, &corev1.PodList{}, &corev1.SecretList{}} {
		w, err := s.client.Watch(s.Context(), list, client.InNamespace(s.ns))
		require.NoError(s, err)
		go func() {
			for s.Context().Err() == nil {
				for event := range w.ResultChan() {
					e.saw(event)
				}
				if w, err = s.client.Watch(s.Context(), list, client.InNamespace(s.ns)); err != nil {
					return
				}
			}
		}()
	}
	return e
}

func nameOfKind(o client.Object) string { return reflect.TypeOf(o).Elem().Name() }

func versionOf(o client.Object) uint64 {
	n, _ := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	return n
}

func (e *eyes) saw(event watch.Event) {
	o, ok := event.Object.(client.Object)
	if !ok {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	v := version{number: versionOf(o), seen: time.Now(), object: o}
	if _, pod := o.(*corev1.Pod); event.Type == watch.Deleted && !pod {
		v.object = nil
	}
	key := nameOfKind(o) + "/" + o.GetName()
	e.versions[key] = append(e.versions[key], v)
	node, ok := o.(*v1alpha1.SeiNode)
	if !ok || event.Type == watch.Deleted {
		return
	}
	e.sawPlan(node)
	var was *v1alpha1.ObservedSidecarTLS
	if all := e.versions[key]; len(all) > 1 {
		if before, ok := all[len(all)-2].object.(*v1alpha1.SeiNode); ok {
			was = before.Status.CurrentSidecarTLS
		}
	}
	if is := node.Status.CurrentSidecarTLS; is != nil && is.FingerprintSHA256 != "" && (was == nil || !was.ObservedAt.Equal(is.ObservedAt)) {
		go e.compare(node.Name, is.FingerprintSHA256, v.seen)
	}
}

// compare compares a stamp with what the node's pod serves right after it.
func (e *eyes) compare(node, stamp string, seen time.Time) {
	served, err := e.handshake(node)
	e.mu.Lock()
	defer e.mu.Unlock()
	var refused net.Error
	switch {
	case err == nil && served == stamp:
		e.stamps++
	case errors.As(err, &refused), errors.Is(err, io.EOF): // nobody is there any more who could say what was served
	case e.touched[node].After(seen.Add(-slack)) || e.changed("Pod/"+node+"-0", seen) || e.changed("Secret/"+node+"-sidecar-tls", seen):
	default:
		e.wrong = append(e.wrong, fmt.Sprintf("%s: at %s %.16s was stamped without a matching handshake: %.16s is served, %v",
			node, seen.Format("15:04:05.000"), stamp, served, err))
	}
}

// changed says whether a pod is another one, or a Secret was written, since a moment before a time.
func (e *eyes) changed(key string, since time.Time) bool {
	all := e.versions[key]
	for i, v := range all {
		if !v.seen.After(since.Add(-slack)) {
			continue
		}
		pod, ok := v.object.(*corev1.Pod)
		if !ok || i == 0 || pod.UID != all[i-1].object.GetUID() || pod.DeletionTimestamp != nil {
			return true
		}
	}
	return false
}

// handshake is the leaf that the node's pod presents to somebody who trusts nobody.
func (e *eyes) handshake(node string) (string, error) {
	var pod corev1.Pod
	if err := e.s.get(node+"-0", &pod); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(e.s.Context(), 3*time.Second)
	defer cancel()
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "nobody", MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(pod.Status.PodIP, "8443"))
	var refused *tls.CertificateVerificationError
	switch {
	case err == nil:
		return "", conn.Close()
	case errors.As(err, &refused):
		return fingerprint(refused.UnverifiedCertificates[0].Raw), nil
	}
	return "", err
}

func (e *eyes) disturbed(node string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.touched[node] = at
}

func (e *eyes) wrongs() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wrong
}

// stamped is how many stamps were found served.
func (e *eyes) stamped() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.s.Logf("%d stamps were what was served", e.stamps)
	return e.stamps
}

// deletion is the version in which a pod was first being deleted, next to a time.
func (e *eyes) deletion(pod string, at time.Time) (found version, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, v := range e.versions["Pod/"+pod] {
		all := e.versions["Pod/"+pod]
		if v.object.GetDeletionTimestamp() == nil || i > 0 && all[i-1].object.GetUID() == v.object.GetUID() && all[i-1].object.GetDeletionTimestamp() != nil {
			continue
		}
		if d := v.seen.Sub(at).Abs(); d < 10*time.Second && (!ok || d < found.seen.Sub(at).Abs()) {
			found, ok = v, true
		}
	}
	return found, ok
}

// before is an object as it was before a version of another.
func (e *eyes) before(kind, name string, number uint64) (found version) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.versions[kind+"/"+name] {
		if v.number < number {
			found = v
		}
	}
	return found
}

// lately are the versions of an object just before one of another: the last, and those that it took the place of a moment ago.
func (e *eyes) lately(kind, name string, of version) (found []version) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.versions[kind+"/"+name] {
		if v.number >= of.number {
			break
		}
		if v.seen.Before(of.seen.Add(-slack)) {
			found = nil
		}
		found = append(found, v)
	}
	if len(found) == 0 {
		found = []version{{}}
	}
	return found
}

// firstOf is the StatefulSet when its template first was of a revision.
func (e *eyes) firstOf(node, revision string) *appsv1.StatefulSet {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.versions["StatefulSet/"+node] {
		if sts, ok := v.object.(*appsv1.StatefulSet); ok && sts.Status.UpdateRevision == revision && sts.Status.ObservedGeneration == sts.Generation {
			return sts
		}
	}
	return nil
}
