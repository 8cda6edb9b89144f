package tasks

import (
	"bytes"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"sei.io/seictl/pkg/resources"
)

// fieldOf is a field and the manager that owns it.
type fieldOf struct{ path, manager string }

// guarded are the lists in which our own items must be ours alone, and what makes an item our own.
var guarded = []struct {
	prefix fieldpath.Path
	ours   func(key map[string]any) bool
}{
	{fieldpath.MakePathOrDie("spec", "template", "spec", "containers"), named(ourContainers)},
	{fieldpath.MakePathOrDie("spec", "template", "spec", "initContainers"), named(ourContainers)},
	{fieldpath.MakePathOrDie("spec", "template", "spec", "volumes"), named(ourVolumes)},
	{fieldpath.MakePathOrDie("spec", "ports"), func(map[string]any) bool { return true }},
}

var (
	ourContainers = []string{
		resources.ContainerSeid, resources.ContainerSeidInit, resources.ContainerSidecar, resources.ContainerProxy,
	}
	ourVolumes = []string{
		resources.VolumeData, resources.VolumeTLS, resources.VolumeProxyConfig, resources.VolumeTmp,
	}
)

func named(names []string) func(map[string]any) bool {
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	return func(key map[string]any) bool {
		name, _ := key["name"].(string)
		return set[name]
	}
}

// fieldsOf is what one manager owns of an object.
type fieldsOf struct {
	manager string
	fields  *fieldpath.Set
}

// managedFields splits the ownership of an object into what we applied and what the others own. Status is nobody's
// intent, and the controller manager fills in what no human meant.
func managedFields(u *unstructured.Unstructured) (ours *fieldpath.Set, others []fieldsOf, err error) {
	ours = fieldpath.NewSet()
	for _, m := range u.GetManagedFields() {
		if m.Subresource != "" || m.FieldsV1 == nil || m.Manager == "kube-controller-manager" {
			continue
		}
		set := &fieldpath.Set{}
		if err := set.FromJSON(bytes.NewReader(m.FieldsV1.GetRawBytes())); err != nil {
			return nil, nil, fmt.Errorf("reading the managed fields of %s: %w", describe(u), err)
		}
		if m.Manager == FieldManager && m.Operation == metav1.ManagedFieldsOperationApply {
			ours = ours.Union(set)
			continue
		}
		others = append(others, fieldsOf{m.Manager, set})
	}
	return ours, others, nil
}

// foreignField finds a field in our containers, volumes and ports that another manager owns and that we do not render:
// server-side apply leaves such a field in place, so what runs would not be what was rendered. Nil when there is none.
func foreignField(u *unstructured.Unstructured) (*fieldOf, error) {
	ours, others, err := managedFields(u)
	if err != nil {
		return nil, err
	}
	var found *fieldOf
	for _, other := range others {
		// Not All: it cannot be left early.
		other.fields.Difference(ours).Iterate(func(path fieldpath.Path) {
			if found == nil && isGuarded(path) && meant(u.Object, path) && !hasBelow(ours, path) {
				found = &fieldOf{path: path.String(), manager: other.manager}
			}
		})
	}
	return found, nil
}

func isGuarded(path fieldpath.Path) bool {
	for _, g := range guarded {
		n := len(g.prefix)
		if len(path) <= n || !path[:n].Equals(g.prefix) || path[n].Key == nil {
			continue
		}
		key := map[string]any{}
		for _, f := range *path[n].Key {
			key[f.Name] = f.Value.Unstructured()
		}
		if g.ours(key) {
			return true
		}
	}
	return false
}

// hasBelow says whether a set has fields below a path: who created an object owns its lists and maps as such, which takes
// nothing from whoever owns what is in them.
func hasBelow(set *fieldpath.Set, path fieldpath.Path) bool {
	for _, pe := range path {
		if set = set.WithPrefix(pe); set.Empty() {
			return false
		}
	}
	return true
}

// defaults are what the API server fills in. Whoever writes an object with a plain update owns them, without having meant
// them.
var defaults = map[string][]any{
	"terminationMessagePath":   {"/dev/termination-log"},
	"terminationMessagePolicy": {"File"},
	"imagePullPolicy":          {"IfNotPresent", "Always"},
	"protocol":                 {"TCP"},
	"scheme":                   {"HTTP"},
	"apiVersion":               {"v1"},
	"successThreshold":         {int64(1)},
	"failureThreshold":         {int64(3)},
	"periodSeconds":            {int64(10)},
	"timeoutSeconds":           {int64(1)},
	"defaultMode":              {int64(0o644)},
}

// meant says whether the field at a path says anything: it is there, not empty and not the API server's default.
func meant(obj map[string]any, path fieldpath.Path) bool {
	v, ok := lookUp(obj, path)
	if !ok {
		return false
	}
	switch v := v.(type) {
	case nil:
		return false
	case map[string]any:
		return len(v) > 0
	case []any:
		return len(v) > 0
	case string:
		if v == "" {
			return false
		}
	}
	if name := path[len(path)-1].FieldName; name != nil {
		for _, d := range defaults[*name] {
			if reflect.DeepEqual(v, d) {
				return false
			}
		}
	}
	return true
}

// lookUp follows a path into an object.
func lookUp(v any, path fieldpath.Path) (any, bool) {
	for _, pe := range path {
		switch {
		case pe.FieldName != nil:
			m, _ := v.(map[string]any)
			field, ok := m[*pe.FieldName]
			if !ok {
				return nil, false
			}
			v = field
		case pe.Key != nil:
			item, ok := itemByKey(v, *pe.Key)
			if !ok {
				return nil, false
			}
			v = item
		default: // an item of a set: the path itself is the value
			return v, true
		}
	}
	return v, true
}

// itemByKey finds the item of an associative list. A key that an item leaves out has its default.
func itemByKey(v any, key value.FieldList) (any, bool) {
	list, _ := v.([]any)
	for _, item := range list {
		m, _ := item.(map[string]any)
		match := m != nil
		for _, f := range key {
			have, ok := m[f.Name]
			// Not DeepEqual: a number in a key is decoded as a float.
			match = match && (!ok || value.Equals(value.NewValueInterface(have), f.Value))
		}
		if match {
			return item, true
		}
	}
	return nil, false
}
