package deployment

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"

	"sei.io/seictl/api/v1alpha1"
)

// difference is one path of a spec that differs.
type difference struct {
	path     []string
	from, to string
}

func (d difference) String() string {
	return fmt.Sprintf("spec.%s from %s to %s", strings.Join(d.path, "."), d.from, d.to)
}

// differences lists the paths at which two specs differ, down to leaves and lists, in order.
func differences(from, to *v1alpha1.SeiNodeSpec) []difference {
	if equality.Semantic.DeepEqual(from, to) {
		return nil
	}
	var out []difference
	walk(nil, tree(from), tree(to), &out)
	return out
}

func tree(spec *v1alpha1.SeiNodeSpec) any {
	data, err := json.Marshal(spec)
	if err != nil {
		// The API server sent it as JSON.
		panic(fmt.Sprintf("encoding a spec: %v", err))
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		panic(fmt.Sprintf("decoding a spec: %v", err))
	}
	return out
}

func walk(path []string, from, to any, out *[]difference) {
	a, aMap := from.(map[string]any)
	b, bMap := to.(map[string]any)
	if (aMap || from == nil) && (bMap || to == nil) && (aMap || bMap) {
		keys := map[string]bool{}
		for k := range a {
			keys[k] = true
		}
		for k := range b {
			keys[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			walk(append(slices.Clone(path), k), a[k], b[k], out)
		}
		return
	}
	if !reflect.DeepEqual(from, to) {
		*out = append(*out, difference{path: path, from: text(from), to: text(to)})
	}
}

func text(v any) string {
	const most = 120
	if v == nil {
		return "nothing"
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(data) > most {
		return string(data[:most]) + "…"
	}
	return string(data)
}

// managersOf are the managers of a path of a node's spec.
func managersOf(node *v1alpha1.SeiNode, path []string) []string {
	var out []string
	for i := range node.ManagedFields {
		f := &node.ManagedFields[i]
		if f.Subresource != "" || f.FieldsV1 == nil {
			continue
		}
		var fields map[string]any
		if err := json.Unmarshal(f.FieldsV1.GetRawBytes(), &fields); err != nil {
			continue
		}
		if owns(fields, append([]string{"spec"}, path...)) && !slices.Contains(out, f.Manager) {
			out = append(out, f.Manager)
		}
	}
	return out
}

func ownedBy(node *v1alpha1.SeiNode, manager string, path []string) bool {
	return slices.Contains(managersOf(node, path), manager)
}

// owns says whether managed fields hold a path.
func owns(fields map[string]any, path []string) bool {
	for _, p := range path {
		next, ok := fields["f:"+p].(map[string]any)
		if !ok {
			return false
		}
		fields = next
	}
	return true
}
