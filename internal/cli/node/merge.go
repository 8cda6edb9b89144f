package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/manifest"
)

// mergeApply is the live node as a server-side apply of the file would leave it: the fields of the file, without the fields
// that an earlier apply of ours set and the file has no more. wanted is what the file says, decoded.
func mergeApply(live, wanted *v1alpha1.SeiNode, o *manifest.Object) (*v1alpha1.SeiNode, error) {
	file, err := declared(wanted, o)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(live)
	if err != nil {
		return nil, fmt.Errorf("encoding SeiNode %s: %w", live.Name, err)
	}
	base := map[string]any{}
	if err := json.Unmarshal(data, &base); err != nil {
		return nil, fmt.Errorf("decoding SeiNode %s: %w", live.Name, err)
	}
	owned, err := ownedFields(live)
	if err != nil {
		return nil, err
	}
	for _, path := range owned {
		if !has(file, path) {
			drop(base, path)
		}
	}
	overlay(base, file)
	if data, err = json.Marshal(base); err != nil {
		return nil, fmt.Errorf("encoding SeiNode %s: %w", live.Name, err)
	}
	out := &v1alpha1.SeiNode{}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("decoding SeiNode %s: %w", live.Name, err)
	}
	return out, nil
}

// declared are spec, labels and annotations as the file says them. A child of a SeiNodeDeployment has no file of its own.
func declared(wanted *v1alpha1.SeiNode, o *manifest.Object) (map[string]any, error) {
	raw := o.Raw
	if o.Deployment != nil {
		var err error
		if raw, err = json.Marshal(wanted); err != nil {
			return nil, fmt.Errorf("encoding SeiNode %s: %w", wanted.Name, err)
		}
	}
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("decoding SeiNode %s: %w", wanted.Name, err)
	}
	out := map[string]any{"spec": all["spec"]}
	meta, _ := all["metadata"].(map[string]any)
	kept := map[string]any{}
	for _, k := range []string{"labels", "annotations"} {
		if v, ok := meta[k].(map[string]any); ok {
			kept[k] = v
		}
	}
	out["metadata"] = kept
	return out, nil
}

// applyBody is the object to apply: what the file declares and nothing that the API server fills in.
func applyBody(n *v1alpha1.SeiNode, o *manifest.Object) ([]byte, error) {
	body, err := declared(n, o)
	if err != nil {
		return nil, err
	}
	meta := body["metadata"].(map[string]any)
	meta["name"], meta["namespace"] = n.Name, n.Namespace
	body["apiVersion"], body["kind"] = v1alpha1.GroupVersion.String(), "SeiNode"
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding SeiNode %s: %w", n.Name, err)
	}
	return data, nil
}

// ownedFields are the leaves that our last apply set.
func ownedFields(live *v1alpha1.SeiNode) ([][]string, error) {
	var out [][]string
	for i := range live.ManagedFields {
		f := &live.ManagedFields[i]
		if f.Manager != factory.FieldOwner || f.Operation != metav1.ManagedFieldsOperationApply || f.Subresource != "" || f.FieldsV1 == nil {
			continue
		}
		set := fieldpath.NewSet()
		if err := set.FromJSON(bytes.NewReader(f.FieldsV1.GetRawBytes())); err != nil {
			return nil, fmt.Errorf("reading managed fields of SeiNode %s: %w", live.Name, err)
		}
		set.Leaves().Iterate(func(p fieldpath.Path) {
			var names []string
			for _, e := range p {
				if e.FieldName == nil {
					return // an element of a list: lists are replaced as a whole
				}
				names = append(names, *e.FieldName)
			}
			out = append(out, names)
		})
	}
	return out, nil
}

func has(m map[string]any, path []string) bool {
	for i, name := range path {
		v, ok := m[name]
		if !ok {
			return false
		}
		if i == len(path)-1 {
			return true
		}
		if m, ok = v.(map[string]any); !ok {
			return false
		}
	}
	return false
}

// drop removes a field, and what it leaves empty, as the API server does.
func drop(m map[string]any, path []string) {
	if len(path) == 1 {
		delete(m, path[0])
		return
	}
	inner, ok := m[path[0]].(map[string]any)
	if !ok {
		return
	}
	if drop(inner, path[1:]); len(inner) == 0 {
		delete(m, path[0])
	}
}

func overlay(base, over map[string]any) {
	for k, v := range maps.All(over) {
		inner, isMap := v.(map[string]any)
		target, ok := base[k].(map[string]any)
		switch {
		case v == nil:
		case isMap && ok:
			overlay(target, inner)
		case isMap:
			fresh := map[string]any{}
			overlay(fresh, inner)
			base[k] = fresh
		default:
			base[k] = v
		}
	}
}

// changed says whether an edit changes anything that is ours to change.
func (t *target) changed() bool {
	return t.live == nil || !equality.Semantic.DeepEqual(t.live.Spec, t.node.Spec) ||
		!equality.Semantic.DeepEqual(t.live.Labels, t.node.Labels) ||
		!equality.Semantic.DeepEqual(t.live.Annotations, t.node.Annotations)
}
