package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/manifest"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/cli/savedplan"
	"sei.io/seictl/pkg/settings"
)

// savePlan writes what was previewed to a file that `seictl node apply FILE` applies.
func (r *resolver) savePlan(ctx context.Context, path string, targets []target, items []preview.Item) error {
	platform, err := r.Settings(ctx, true)
	if err != nil {
		return err
	}
	if r.gone != nil {
		return fmt.Errorf("--out %s: a plan is saved for the nodes of a cluster, and none answers: %w", path, r.gone)
	}
	f := &savedplan.File{CreatedAt: r.f.Now().UTC()}
	if f.Settings, err = savedplan.ReadSettings(platform); err != nil {
		return err
	}
	for i := range targets {
		n, err := targets[i].saved(&items[i])
		if err != nil {
			return fmt.Errorf("--out %s: %w", path, err)
		}
		f.Nodes = append(f.Nodes, n)
	}
	data, err := f.Encode()
	if err != nil {
		return err
	}
	return writeFile(path, data)
}

// saved is a target as a saved plan keeps it.
func (t *target) saved(item *preview.Item) (savedplan.Node, error) {
	n := savedplan.Node{
		Namespace: t.node.Namespace, Name: t.node.Name, Edit: savedplan.Edit{Type: savedplan.NoEdit}, Read: map[string]any{},
		Idle: string(item.Decision.Idle), Preview: *item,
	}
	var err error
	switch {
	case t.object != nil && t.object.Deployment != nil:
		return n, fmt.Errorf("%s: the plans of SeiNodeDeployment %s cannot be saved: its template is what to edit", t.object.Source, t.object.Deployment.Name)
	case t.live == nil && t.object != nil && t.object.HasStatus:
		return n, fmt.Errorf("%s: SeiNode %s: the plan was computed from the status in the file: take it out to plan for the node in the cluster",
			t.object.Source, t.node.Name)
	case t.live != nil:
		n.UID = string(t.live.UID)
		if n.Read, err = savedplan.Read(t.live); err != nil {
			return n, err
		}
	}
	switch {
	case !t.changed():
	case t.object != nil:
		n.Edit.Type = savedplan.Apply
		n.Edit.Body, err = applyBody(t.node, t.object)
	default:
		n.Edit.Type = savedplan.MergePatch
		n.Edit.Body, err = client.MergeFrom(t.live).Data(t.node)
	}
	return n, err
}

// writeFile writes a file as a whole or not at all.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err == nil {
		_, err = tmp.Write(data)
		err = errors.Join(err, tmp.Close())
		if err == nil {
			err = os.Rename(tmp.Name(), path)
		}
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// readPlan reads a saved plan.
func readPlan(path string) (*savedplan.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the saved plan: %w", err)
	}
	f, err := savedplan.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// planFile is the saved plan among the arguments; empty when they are names of nodes. A file is known by its content: one
// that happens to have the name of a node is none.
func planFile(args []string) (string, error) {
	for _, arg := range args {
		data, err := os.ReadFile(arg)
		switch {
		case err == nil && savedplan.Recognise(data) && len(args) > 1:
			return "", fmt.Errorf("%s is a saved plan, which names its nodes: apply it alone", arg)
		case err == nil && savedplan.Recognise(data):
			return arg, nil
		case err == nil && isPath(arg):
			return "", fmt.Errorf("%s is no saved plan: wanted a file that seictl node plan --out wrote; a manifest is applied with -f %s", arg, arg)
		case err != nil && isPath(arg) && os.IsNotExist(err):
			return "", fmt.Errorf("%s: no such file: wanted the name of a node or a saved plan", arg)
		}
	}
	return "", nil
}

// isPath says whether an argument cannot be the name of a node.
func isPath(arg string) bool {
	if _, err := bareName(arg); err == nil {
		return strings.Contains(arg, ".") && !strings.HasPrefix(arg, "seinode")
	}
	return true
}

// staleError says that a saved plan does not fit any more.
type staleError struct {
	path    string
	file    *savedplan.File
	changes []savedplan.Change
	// done are the nodes whose spec has the edit already.
	done []string
}

func (e *staleError) Error() string {
	lines := make([]string, len(e.changes))
	for i, c := range e.changes {
		lines[i] = c.String()
		if c.Node != "" {
			lines[i] = c.Node + ": " + lines[i]
		}
	}
	next := "save the plan again with seictl node plan --out " + e.path
	if len(e.done) == len(e.file.Nodes) {
		next = "the edit is in the spec already: seictl node apply " + e.done[0]
	}
	return fmt.Sprintf("%s is stale: %s; nothing was changed; next: %s", e.path, strings.Join(lines, "; "), next)
}

// resolveSaved makes targets of a saved plan. A *staleError says that it does not fit any more.
func (r *resolver) resolveSaved(ctx context.Context) ([]target, error) {
	f, err := readPlan(r.planFile)
	if err != nil {
		return nil, err
	}
	r.saved = f
	stale := &staleError{path: r.planFile, file: f}
	if stale.changes, err = r.settingsChanges(ctx, f); err != nil {
		return nil, err
	}
	var out []target
	for i := range f.Nodes {
		n := &f.Nodes[i]
		live, err := r.liveOf(ctx, &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name}})
		if err != nil {
			return nil, err
		}
		t := target{node: live, live: live}
		if err := t.applyEdit(n); err != nil {
			return nil, fmt.Errorf("%s: SeiNode %s/%s: %w", r.planFile, n.Namespace, n.Name, err)
		}
		changes, err := compareLive(n, live, f)
		if err != nil {
			return nil, err
		}
		stale.changes = append(stale.changes, changes...)
		if len(changes) > 0 && live != nil && string(live.UID) == n.UID && !t.changed() {
			stale.done = append(stale.done, n.Name+" -n "+n.Namespace)
		}
		out = append(out, t)
	}
	if len(stale.changes) > 0 {
		return nil, stale
	}
	return out, nil
}

func compareLive(n *savedplan.Node, live *v1alpha1.SeiNode, f *savedplan.File) ([]savedplan.Change, error) {
	l := savedplan.Live{Node: live, Read: map[string]any{}}
	if live != nil {
		var err error
		if l.Read, err = savedplan.Read(live); err != nil {
			return nil, err
		}
	}
	return n.Compare(l, f.CreatedAt), nil
}

// settingsChanges compares the platform's settings.
func (r *resolver) settingsChanges(ctx context.Context, f *savedplan.File) ([]savedplan.Change, error) {
	platform, err := r.Settings(ctx, true)
	if err != nil {
		return nil, err
	}
	live, err := savedplan.ReadSettings(platform)
	if err != nil {
		return nil, err
	}
	changes := f.CompareSettings(live, nil)
	if len(changes) == 0 {
		return nil, nil
	}
	c, err := r.f.Cluster()
	if err != nil {
		return nil, err
	}
	var cm corev1.ConfigMap
	// Who may read the settings may read this; if not, nobody is named.
	if c.Client.Get(ctx, client.ObjectKey{Namespace: settings.Namespace, Name: settings.ConfigMapName}, &cm) == nil {
		changes = f.CompareSettings(live, cm.ManagedFields)
	}
	return changes, nil
}

// applyEdit applies the edit of a saved plan to the live node.
func (t *target) applyEdit(n *savedplan.Node) error {
	switch n.Edit.Type {
	case savedplan.Apply:
		objects, err := manifest.Parse(n.Edit.Body, "its edit")
		if err != nil {
			return err
		}
		if len(objects) != 1 || objects[0].Node == nil {
			return errors.New("its edit is no SeiNode: save the plan again")
		}
		t.object = &objects[0]
		if t.live == nil {
			t.node = t.object.Node
			return nil
		}
		t.node, err = mergeApply(t.live, t.object.Node, t.object)
		return err
	case savedplan.MergePatch:
		if t.live == nil {
			t.node = &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name}}
			return nil // the node is gone: the comparison says so
		}
		return t.mergePatch(n.Edit.Body)
	}
	if t.live == nil {
		t.node = &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name}}
	}
	return nil
}

// mergePatch applies a merge patch to spec, labels and annotations: nothing else of a node is edited.
func (t *target) mergePatch(body []byte) error {
	var patch, object map[string]any
	if err := json.Unmarshal(body, &patch); err != nil {
		return fmt.Errorf("reading its edit: %w", err)
	}
	data, err := json.Marshal(t.live)
	if err != nil {
		return fmt.Errorf("encoding the node: %w", err)
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return fmt.Errorf("decoding the node: %w", err)
	}
	if data, err = json.Marshal(merged(object, patch)); err != nil {
		return fmt.Errorf("encoding the node: %w", err)
	}
	edited := &v1alpha1.SeiNode{}
	if err := json.Unmarshal(data, edited); err != nil {
		return fmt.Errorf("its edit does not fit a SeiNode: %w", err)
	}
	t.node = t.live.DeepCopy()
	t.node.Spec, t.node.Labels, t.node.Annotations = edited.Spec, edited.Labels, edited.Annotations
	if problems := manifest.ValidateNode(t.node); len(problems) > 0 {
		return errors.New(problems[0])
	}
	return nil
}

// merged is a JSON merge patch (RFC 7386) applied.
func merged(object, patch map[string]any) map[string]any {
	if object == nil {
		object = map[string]any{}
	}
	for k, v := range patch {
		inner, isMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(object, k)
		case isMap:
			under, _ := object[k].(map[string]any)
			object[k] = merged(under, inner)
		default:
			object[k] = v
		}
	}
	return object
}

// sameAsSaved requires that what would run now is what was saved: the cluster around the node may have changed.
func (r *resolver) sameAsSaved(items []preview.Item) error {
	if r.saved == nil {
		return nil
	}
	stale := &staleError{path: r.planFile, file: r.saved}
	for i := range items {
		n := &r.saved.Nodes[i]
		from, to := planText(n.Preview.Plan), planText(items[i].Plan)
		if from != to {
			stale.changes = append(stale.changes, savedplan.Change{Node: n.Namespace + "/" + n.Name, Field: "plan", From: from, To: to})
		}
	}
	if len(stale.changes) == 0 {
		return nil
	}
	return stale
}

// planText is a plan in one line.
func planText(p *preview.Plan) string {
	if p == nil {
		return ""
	}
	tasks := make([]string, len(p.Tasks))
	for i, t := range p.Tasks {
		tasks[i] = t.Type
	}
	return p.Kind + ": " + strings.Join(tasks, ", ")
}
