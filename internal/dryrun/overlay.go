package dryrun

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"sei.io/seictl/pkg/tasks"
)

// overlay computes what an apply would make of a live object, without asking the API server: what is rendered is put over
// it, and what we applied before and do not render any more is taken out. Defaults of new items are not filled in.
func overlay(live, rendered *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if live == nil {
		return rendered.DeepCopy(), nil
	}
	ours, err := appliedByUs(live)
	if err != nil {
		return nil, err
	}
	out := live.DeepCopy()
	out.Object = overlayMap(out.Object, rendered.DeepCopy().Object, ours)
	return out, nil
}

// appliedByUs is the set of fields that the engine applied.
func appliedByUs(u *unstructured.Unstructured) (*fieldpath.Set, error) {
	ours := fieldpath.NewSet()
	for _, m := range u.GetManagedFields() {
		if m.Manager != tasks.FieldManager || m.Operation != metav1.ManagedFieldsOperationApply || m.FieldsV1 == nil {
			continue
		}
		if err := ours.FromJSON(m.FieldsV1.GetRawReader()); err != nil {
			return nil, fmt.Errorf("reading the managed fields of %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return ours, nil
}

func overlayMap(live, want map[string]any, ours *fieldpath.Set) map[string]any {
	for k := range live {
		if _, rendered := want[k]; !rendered && owns(ours, field(k)) {
			delete(live, k)
		}
	}
	for k, w := range want {
		live[k] = overlayValue(live[k], w, below(ours, field(k)))
	}
	return live
}

func overlayValue(live, want any, ours *fieldpath.Set) any {
	switch w := want.(type) {
	case map[string]any:
		if l, ok := live.(map[string]any); ok {
			return overlayMap(l, w, ours)
		}
	case []any:
		if l, ok := live.([]any); ok {
			return overlayList(l, w, ours)
		}
	}
	return want
}

// overlayList keeps the order of what is rendered; items that others added come after it.
func overlayList(live, want []any, ours *fieldpath.Set) []any {
	key := listKey(live, want)
	if key == "" {
		return want
	}
	old := byKey(live, key)
	var out []any
	for _, w := range want {
		item := w.(map[string]any)
		id := fmt.Sprint(item[key])
		if l, ok := old[id]; ok {
			_, set := ofItem(ours, key, id)
			item = overlayMap(l, item, set)
			delete(old, id)
		}
		out = append(out, item)
	}
	for _, l := range live {
		item := l.(map[string]any)
		id := fmt.Sprint(item[key])
		if _, left := old[id]; !left {
			continue
		}
		if applied, _ := ofItem(ours, key, id); !applied {
			out = append(out, item)
		}
	}
	return out
}

func field(name string) fieldpath.PathElement { return fieldpath.PathElement{FieldName: &name} }

// owns says whether a set has an element or anything below it.
func owns(s *fieldpath.Set, pe fieldpath.PathElement) bool {
	if s == nil {
		return false
	}
	_, deeper := s.Children.Get(pe)
	return deeper || s.Members.Has(pe)
}

// below is the part of a set under an element; nil for none.
func below(s *fieldpath.Set, pe fieldpath.PathElement) *fieldpath.Set {
	if s == nil {
		return nil
	}
	child, _ := s.Children.Get(pe)
	return child
}

// ofItem finds the item of an associative list in a set: whether we applied it, and what is under it.
func ofItem(s *fieldpath.Set, key, id string) (applied bool, under *fieldpath.Set) {
	if s == nil {
		return false, nil
	}
	visit := func(pe fieldpath.PathElement) {
		if pe.Key == nil {
			return
		}
		for _, f := range *pe.Key {
			if f.Name == key && fmt.Sprint(f.Value.Unstructured()) == id {
				applied, under = true, below(s, pe)
			}
		}
	}
	s.Members.Iterate(visit)
	s.Children.Iterate(visit)
	return applied, under
}
