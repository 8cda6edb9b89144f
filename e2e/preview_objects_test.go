//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"sei.io/seictl/api/v1alpha1"
)

// objects are those of a node that are there: Kind/name to a digest of what is in them, or to the UID of a pod.
type objects map[string]string

func (o objects) pod(node string) string { return o["Pod/"+node+"-0"] }

// objectKinds are the kinds that plans write, with the name for a node.
var objectKinds = []struct {
	gvk  schema.GroupVersionKind
	name string
	// digested says that a plan may change one that is there.
	digested bool
}{
	{schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "%s-0", false},
	{schema.GroupVersionKind{Version: "v1", Kind: "PersistentVolumeClaim"}, "data-%s", false},
	{schema.GroupVersionKind{Version: "v1", Kind: "Service"}, "%s", true},
	{schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "%s-rbac-proxy-config", true},
	{schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, "%s-sidecar-tls", false},
	{schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "StatefulSet"}, "%s", true},
	{schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}, "%s-sidecar-tls", true},
}

// objectsOf reads the objects of a node.
func (e *env) objectsOf(node types.NamespacedName) (objects, error) {
	out := objects{}
	for _, k := range objectKinds {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(k.gvk)
		key := types.NamespacedName{Namespace: node.Namespace, Name: fmt.Sprintf(k.name, node.Name)}
		err := e.client.Get(background(), key, u)
		switch {
		case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
			continue
		case err != nil:
			return nil, fmt.Errorf("reading %s %s: %w", k.gvk.Kind, key, err)
		}
		digest := string(u.GetUID())
		if k.digested {
			data, err := json.Marshal([]any{digest, u.Object["spec"], u.Object["data"], u.GetLabels(), u.GetAnnotations(), u.GetOwnerReferences()})
			if err != nil {
				return nil, fmt.Errorf("reading %s %s: %w", k.gvk.Kind, key, err)
			}
			digest = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		out[k.gvk.Kind+"/"+key.Name] = digest
	}
	return out, nil
}

// compareObjects requires that nothing was written that was not shown and, where all went as shown, that each object came out
// as it was to.
func (p *promise) compareObjects(plans []v1alpha1.PlanSummary, kept bool) {
	written, err := p.env.written(p.audit, p.node)
	if err != nil {
		p.lie("%v", err)
		return
	}
	named := map[string]bool{}
	var want []string
	for _, o := range p.shown.Objects {
		named[o.Kind+"/"+o.Name] = true
		if o.Kind == "Certificate" {
			// cert-manager makes it, and whoever takes the Certificate back removes it.
			named["Secret/"+o.Name] = true
		}
		if o.Action != "unchanged" {
			want = append(want, o.Action+" "+o.Kind+"/"+o.Name)
		}
	}
	for i := 1; i < len(plans); i++ {
		if plans[i].Kind == v1alpha1.NodeRepair {
			// It clears up what the rollback before it left: the row names the one and the other.
			for _, k := range []string{"Certificate/%s-sidecar-tls", "Secret/%s-sidecar-tls", "ConfigMap/%s-rbac-proxy-config"} {
				named[fmt.Sprintf(k, p.node.Name)] = true
			}
		}
	}
	for _, w := range written {
		if !named[w] {
			p.lie("%s was written and not shown", w)
		}
	}
	if !kept {
		return
	}
	now, err := p.env.objectsOf(p.node)
	if err != nil {
		p.lie("%v", err)
		return
	}
	pod := "Pod/" + p.node.Name + "-0"
	got := p.objects.changes(now, append(written, pod))
	if p.activePlan != "" && p.objects.pod(p.node.Name) == "" {
		// The old pod is gone and the new one about to come: what becomes of it is a matter of moments, as in happened.
		ofPod := func(change string) bool { return strings.HasSuffix(change, " "+pod) }
		want, got = slices.DeleteFunc(want, ofPod), slices.DeleteFunc(got, ofPod)
	}
	slices.Sort(want)
	if !slices.Equal(want, got) {
		p.lie("the objects shown are %v; what became of them: %v", want, got)
	}
}

// changes says what became of some of the objects.
func (o objects) changes(now objects, keys []string) (out []string) {
	for _, key := range keys {
		was, is := o[key], now[key]
		isPod := strings.HasPrefix(key, "Pod/")
		switch {
		case was == is, was == "" && isPod:
		case isPod:
			out = append(out, "replace "+key)
		case was == "":
			out = append(out, "create "+key)
		case is == "":
			out = append(out, "delete "+key)
		default:
			out = append(out, "update "+key)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (e *env) auditPath() string { return filepath.Join(e.labDir, "audit.log") }

// auditEnd is where the API server's audit log ends now.
func (e *env) auditEnd() (int64, error) {
	info, err := os.Stat(e.auditPath())
	if err != nil {
		return 0, fmt.Errorf("reading the audit log: %w", err)
	}
	return info.Size(), nil
}

// audited is what is needed of a line in the audit log.
type audited struct {
	Stage, Verb, RequestURI, UserAgent string
	ObjectRef                          *struct{ Resource, Namespace, Name, Subresource string }
	ResponseStatus                     struct{ Code int }
}

// readAudit visits what was asked of the API server since an offset of its audit log, of lines that hold a text.
func (e *env) readAudit(offset int64, holding string, visit func(*audited)) error {
	f, err := os.Open(e.auditPath())
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // what follows is not written yet
		}
		if err != nil {
			return fmt.Errorf("reading the audit log: %w", err)
		}
		if !bytes.Contains(line, []byte(holding)) {
			continue
		}
		var a audited
		if err := json.Unmarshal(line, &a); err != nil {
			return fmt.Errorf("reading the audit log: %w", err)
		}
		if a.Stage == "ResponseComplete" && a.ObjectRef != nil {
			visit(&a)
		}
	}
}

// written are the objects of a node, Kind/name, that a seictl wrote since an offset of the audit log. Pods that it deleted are
// among them; SeiNodes are not, nor are events.
func (e *env) written(offset int64, node types.NamespacedName) (out []string, err error) {
	err = e.readAudit(offset, node.Namespace, func(a *audited) {
		if a.writes() && a.ObjectRef.Namespace == node.Namespace && belongs(a.ObjectRef.Name, node.Name) {
			out = append(out, kindOf(a.ObjectRef.Resource)+"/"+a.ObjectRef.Name)
		}
	})
	slices.Sort(out)
	return slices.Compact(out), err
}

// writes says whether a seictl wrote an object of a node.
func (a *audited) writes() bool {
	return a.ObjectRef.Subresource == "" && a.ResponseStatus.Code < 300 &&
		strings.HasPrefix(a.UserAgent, "seictl") && !strings.Contains(a.RequestURI, "dryRun=") &&
		slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, a.Verb) &&
		!slices.Contains([]string{"seinodes", "events", "leases"}, a.ObjectRef.Resource)
}

// belongs says whether an object of that name can only be the node's.
func belongs(name, node string) bool {
	return name == node || strings.HasPrefix(name, node+"-") || name == "data-"+node
}

// kindOf is the kind of a resource that plans write; of any other the resource itself, which no preview names.
func kindOf(resource string) string {
	for _, k := range objectKinds {
		if strings.EqualFold(k.gvk.Kind+"s", resource) {
			return k.gvk.Kind
		}
	}
	return resource
}

// planHistory has the plans that ever ended in a namespace, in order, by node.
type planHistory struct {
	mu    sync.Mutex
	ended map[string][]v1alpha1.PlanSummary
	uids  map[string]types.UID
}

func watchPlans(t *testing.T, e *env, ns string) *planHistory {
	t.Helper()
	h := &planHistory{ended: map[string][]v1alpha1.PlanSummary{}, uids: map[string]types.UID{}}
	c, err := cache.New(e.config, cache.Options{
		Scheme: e.client.Scheme(), Mapper: e.client.RESTMapper(), DefaultNamespaces: map[string]cache.Config{ns: {}},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(background())
	t.Cleanup(stop)
	informer, err := c.GetInformer(ctx, &v1alpha1.SeiNode{}, cache.BlockUntilSynced(false))
	require.NoError(t, err)
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: h.saw, UpdateFunc: func(_, o any) { h.saw(o) },
	})
	require.NoError(t, err)
	go func() { _ = c.Start(ctx) }()
	require.True(t, c.WaitForCacheSync(ctx))
	return h
}

func (h *planHistory) saw(o any) {
	n, ok := o.(*v1alpha1.SeiNode)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.uids[n.Name] != n.UID {
		// Another node of that name has a history of its own.
		h.uids[n.Name], h.ended[n.Name] = n.UID, nil
	}
	if n.Status.LastPlan == nil {
		return
	}
	seen := h.ended[n.Name]
	if len(seen) == 0 || seen[len(seen)-1].ID != n.Status.LastPlan.ID {
		h.ended[n.Name] = append(seen, *n.Status.LastPlan.DeepCopy())
	}
}

// after are the plans of a node that ended after the one with that id, which ended at a time: the watch may have missed it.
func (h *planHistory) after(node, id string, ended time.Time) (plans []v1alpha1.PlanSummary) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.ended[node] {
		switch {
		case l.ID == id:
			plans = nil
		case l.FinishedAt.After(ended):
			plans = append(plans, l)
		}
	}
	return plans
}
