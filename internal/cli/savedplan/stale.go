package savedplan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

// Change is one thing that is not as it was when the plan was saved.
type Change struct {
	// Node is namespace/name; empty for the platform's settings.
	Node string `json:"node"`
	// Field that changed; "metadata.uid" when the node is another one, "plan" when the cluster around it changed.
	Field string `json:"field"`
	// From and To are the values as JSON, strings without quotes; empty for none.
	From string `json:"from"`
	To   string `json:"to"`
	// Manager is the field manager that wrote it last; empty when nobody says so.
	Manager string `json:"manager"`
	// At is when it wrote; null when nobody says so.
	At *time.Time `json:"at"`
}

// String is the change in a line.
func (c Change) String() string {
	text := fmt.Sprintf("%s: %s → %s", c.Field, orNone(c.From), orNone(c.To))
	if c.Manager != "" {
		text += ", by " + c.Manager
		if c.At != nil {
			text += " at " + c.At.UTC().Format(time.RFC3339)
		}
	}
	return text
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// Live is what a saved plan is compared with.
type Live struct {
	// Node in the cluster; nil when it does not exist.
	Node *v1alpha1.SeiNode
	// Read of it; see Read.
	Read map[string]any
}

// Compare says what changed of a node since the plan was saved, which was at since.
func (n *Node) Compare(live Live, since time.Time) []Change {
	key := n.Namespace + "/" + n.Name
	uid := ""
	if live.Node != nil {
		uid = string(live.Node.UID)
	}
	if uid != n.UID {
		return []Change{{Node: key, Field: "metadata.uid", From: n.UID, To: uid}}
	}
	var out []Change
	for _, d := range diff(nil, n.Read, live.Read) {
		c := Change{Node: key, Field: pathText(d.path), From: text(d.from), To: text(d.to)}
		switch {
		case live.Node == nil:
		case d.path[0] == "status":
			c.Manager, c.At = lastWriter(live.Node.ManagedFields, d.path, "status", since)
		default:
			c.Manager, c.At = lastWriter(live.Node.ManagedFields, d.path, "", since)
		}
		out = append(out, c)
	}
	return out
}

// CompareSettings says what changed of the platform's settings since the plan was saved. managed are the managed fields of
// the ConfigMap that holds them.
func (f *File) CompareSettings(live map[string]any, managed []metav1.ManagedFieldsEntry) []Change {
	var out []Change
	manager, at := lastWriter(managed, []string{"data", settings.Key}, "", f.CreatedAt)
	for _, d := range diff(nil, f.Settings, live) {
		out = append(out, Change{Field: pathText(d.path), From: text(d.from), To: text(d.to), Manager: manager, At: at})
	}
	return out
}

type difference struct {
	path     []string
	from, to any
}

// diff walks two trees. Lists are compared as a whole.
func diff(path []string, from, to any) []difference {
	a, aMap := from.(map[string]any)
	b, bMap := to.(map[string]any)
	trees := aMap && bMap || aMap && to == nil || bMap && from == nil
	if !trees || len(path) > 0 && len(a)+len(b) == 0 {
		if reflect.DeepEqual(from, to) {
			return nil
		}
		return []difference{{path: slices.Clone(path), from: from, to: to}}
	}
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var out []difference
	for _, k := range keys {
		out = append(out, diff(append(path, k), a[k], b[k])...)
	}
	return out
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// pathText is a path as kubectl explains it, with keys that hold dots in brackets.
func pathText(path []string) string {
	var b strings.Builder
	for i, p := range path {
		switch {
		case !plainName.MatchString(p):
			fmt.Fprintf(&b, "[%s]", p)
		case i > 0:
			b.WriteString("." + p)
		default:
			b.WriteString(p)
		}
	}
	return b.String()
}

func text(v any) string {
	switch t := v.(type) {
	case nil:
		return ""
	case string:
		return t
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

// lastWriter is who wrote a field last. A field that is gone has no manager any more: then it is whoever wrote the nearest
// field above it, if that was since the plan was saved; else nobody can tell.
func lastWriter(managed []metav1.ManagedFieldsEntry, path []string, subresource string, since time.Time) (string, *time.Time) {
	for n := len(path); n > 0; n-- {
		name, at := writerOf(managed, path[:n], subresource)
		switch {
		case name == "":
		case n == len(path), !at.Before(since.Truncate(time.Second)):
			return name, at
		}
	}
	return "", nil
}

func writerOf(managed []metav1.ManagedFieldsEntry, path []string, subresource string) (string, *time.Time) {
	var name string
	var at *time.Time
	for i := range managed {
		f := &managed[i]
		if f.Subresource != subresource || f.FieldsV1 == nil || f.Time == nil || at != nil && f.Time.Time.Before(*at) {
			continue
		}
		set := fieldpath.NewSet()
		if set.FromJSON(bytes.NewReader(f.FieldsV1.GetRawBytes())) != nil || !covers(set, path) {
			continue
		}
		when := f.Time.Time
		name, at = f.Manager, &when
	}
	return name, at
}

// covers says whether a set holds a path or anything below it.
func covers(set *fieldpath.Set, path []string) bool {
	p := fieldpath.Path{}
	under := set
	for _, name := range path {
		e := fieldpath.FieldNameElement(name)
		p, under = append(p, e), under.WithPrefix(e)
	}
	return set.Has(p) || !under.Empty()
}
