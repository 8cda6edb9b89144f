package dryrun

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// listKeys identify the items of lists, first match first: those that server-side apply merges by come before names.
var listKeys = []string{"mountPath", "containerPort", "port", "name", "key"}

// listKey is the field that identifies every item of the lists; empty when there is none.
func listKey(lists ...[]any) string {
	for _, key := range listKeys {
		if identifies(key, lists) {
			return key
		}
	}
	return ""
}

func identifies(key string, lists [][]any) bool {
	found := false
	for _, list := range lists {
		seen := map[string]bool{}
		for _, item := range list {
			m, ok := item.(map[string]any)
			if !ok || m[key] == nil || seen[fmt.Sprint(m[key])] {
				return false
			}
			found, seen[fmt.Sprint(m[key])] = true, true
		}
	}
	return found
}

func byKey(list []any, key string) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, item := range list {
		m := item.(map[string]any)
		out[fmt.Sprint(m[key])] = m
	}
	return out
}

// step is one step of the path to a change: a field, or the item of a list with its content.
type step struct {
	field string
	// item is set for the item of a list: what it is called, and the item itself.
	item    string
	content map[string]any
}

// change is one difference. from is nil for what is added, to for what is removed.
type change struct {
	path     []step
	from, to any
}

// opened are maps whose entries are told one by one even when the whole map is new or gone.
var opened = map[string]bool{
	"": true, "metadata": true, "labels": true, "annotations": true, "spec": true, "template": true, "data": true,
}

// ignored are the fields of metadata, and of an object, that say nothing about it.
var ignored = map[string]bool{
	"managedFields": true, "resourceVersion": true, "generation": true, "uid": true, "creationTimestamp": true,
	"selfLink": true,
}

// meaningful is an object without what the API server writes about it.
func meaningful(obj map[string]any) map[string]any {
	out := maps.Clone(obj)
	delete(out, "status")
	if m, ok := out["metadata"].(map[string]any); ok {
		m = maps.Clone(m)
		maps.DeleteFunc(m, func(k string, _ any) bool { return ignored[k] })
		out["metadata"] = m
	}
	return out
}

// changes are the differences between two objects, in the order of their paths.
func changes(before, after map[string]any) []change {
	var out []change
	compareMaps(before, after, nil, &out)
	return out
}

func compare(a, b any, path []step, out *[]change) {
	if reflect.DeepEqual(a, b) {
		return
	}
	am, aMap := a.(map[string]any)
	bm, bMap := b.(map[string]any)
	al, aList := a.([]any)
	bl, bList := b.([]any)
	last := path[len(path)-1]
	switch {
	case aMap && bMap, opened[last.field] && last.item == "" && (aMap || bMap) && (a == nil || b == nil):
		compareMaps(am, bm, path, out)
	case (aList || bList) && (aList || a == nil) && (bList || b == nil) && listKey(al, bl) != "":
		compareLists(al, bl, path, out)
	default:
		*out = append(*out, change{path: slices.Clone(path), from: a, to: b})
	}
}

func compareMaps(a, b map[string]any, path []step, out *[]change) {
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		compare(a[k], b[k], append(path, step{field: k}), out)
	}
}

func compareLists(a, b []any, path []step, out *[]change) {
	key := listKey(a, b)
	before, after := byKey(a, key), byKey(b, key)
	var order []string
	for _, list := range [][]any{b, a} {
		for _, item := range list {
			if id := fmt.Sprint(item.(map[string]any)[key]); !slices.Contains(order, id) {
				order = append(order, id)
			}
		}
	}
	field := path[len(path)-1].field
	for _, id := range order {
		old, new := before[id], after[id]
		content := new
		if content == nil {
			content = old
		}
		name := id
		if n, ok := content["name"].(string); ok && key != "mountPath" {
			name = n
		}
		p := append(slices.Clone(path[:len(path)-1]), step{field: field, item: name, content: content})
		switch {
		case old == nil:
			*out = append(*out, change{path: p, to: new})
		case new == nil:
			*out = append(*out, change{path: p, from: old})
		default:
			compareMaps(old, new, p, out)
		}
	}
}

// line is a change as people read it.
func (c change) line() string {
	head, rest := headline(c.path)
	sign := "~"
	if len(rest) == 0 {
		switch {
		case c.from == nil:
			sign = "+"
		case c.to == nil:
			sign = "-"
		}
	}
	text := sign + " " + strings.Join(append([]string{head}, words(rest)...), " ")
	return text + c.detail(len(rest) > 0)
}

// detail says what a value was and is; nested says that the sign does not tell.
func (c change) detail(nested bool) string {
	from, to := brief(c.from), brief(c.to)
	if last := c.path[len(c.path)-1]; last.item != "" {
		from, to = gist(c.from), gist(c.to)
	}
	switch {
	case c.from == nil && to != "":
		return suffix(c.path, to)
	case c.from == nil && nested:
		return ": added"
	case c.to == nil && nested:
		return ": removed"
	case c.from != nil && c.to != nil && from != "" && to != "":
		return ": " + from + " → " + to
	}
	return ""
}

func suffix(path []step, to string) string {
	if last := path[len(path)-1]; last.item != "" && last.field != "env" {
		return " (" + to + ")"
	}
	return ": " + to
}

// gist is what matters most of the item of a list.
func gist(v any) string {
	m, _ := v.(map[string]any)
	for _, field := range []string{"image", "value"} {
		if s, ok := m[field].(string); ok {
			return s
		}
	}
	return ""
}

// longest is how much of a value is shown.
const longest = 80

// brief is a value in a few characters; empty when it takes more.
func brief(v any) string {
	switch v := v.(type) {
	case nil, []any:
		return listed(v)
	case map[string]any:
		return pairs(v)
	}
	s := fmt.Sprint(v)
	if len(s) > longest || strings.Contains(s, "\n") {
		return ""
	}
	return s
}

// mostPairs is how many values of a map are shown.
const mostPairs = 4

// pairs are the values of a small map; empty for a large one.
func pairs(m map[string]any) string {
	var out []string
	var visit func(m map[string]any, prefix string) bool
	visit = func(m map[string]any, prefix string) bool {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			switch v := m[k].(type) {
			case map[string]any:
				if !visit(v, prefix+k+".") {
					return false
				}
			case []any:
				return false
			default:
				out = append(out, fmt.Sprintf("%s%s=%v", prefix, k, v))
			}
		}
		return len(out) <= mostPairs
	}
	if !visit(m, "") {
		return ""
	}
	return strings.Join(out, ", ")
}

// listed is a list of scalars.
func listed(v any) string {
	list, _ := v.([]any)
	var out []string
	for _, item := range list {
		if _, ok := item.(map[string]any); ok {
			return ""
		}
		out = append(out, fmt.Sprint(item))
	}
	s := strings.Join(out, ", ")
	if len(s) > 2*longest {
		return ""
	}
	return s
}

// headline says which part of an object a path leads to, and what of the path is left.
func headline(path []step) (head string, rest []step) {
	fields := make([]string, 0, len(path))
	for _, s := range path {
		fields = append(fields, s.field)
	}
	has := func(prefix ...string) bool {
		return len(fields) > len(prefix) && slices.Equal(fields[:len(prefix)], prefix)
	}
	switch {
	case has("spec", "template", "spec"):
		return part(path[3], "pod"), path[4:]
	case has("spec", "template", "metadata", "annotations"):
		return "pod annotation " + path[4].field, path[5:]
	case has("spec", "template", "metadata", "labels"):
		return "pod label " + path[4].field, path[5:]
	case has("metadata", "annotations"):
		return "annotation " + path[2].field, path[3:]
	case has("metadata", "labels"):
		return "label " + path[2].field, path[3:]
	case has("data"):
		return "data " + path[1].field, path[2:]
	case has("spec"):
		return part(path[1], ""), path[2:]
	}
	return part(path[0], ""), path[1:]
}

// nouns are what the items of lists are called.
var nouns = map[string]string{
	"containers": "container", "volumes": "volume", "env": "env", "volumeMounts": "mount", "ports": "port",
	"tolerations": "toleration",
}

func part(s step, of string) string {
	switch {
	case s.item != "" && s.field == "initContainers":
		// A native sidecar is a container like any other.
		if s.content["restartPolicy"] == "Always" {
			return "container " + s.item
		}
		return "init container " + s.item
	case s.item != "":
		noun := nouns[s.field]
		if noun == "" {
			noun = s.field
		}
		return noun + " " + s.item
	case of != "":
		return of + " " + s.field
	}
	return s.field
}

// words are the steps inside a part; fields are joined by dots.
func words(rest []step) []string {
	var out []string
	dotted := ""
	flush := func() {
		if dotted != "" {
			out = append(out, dotted)
		}
		dotted = ""
	}
	for i, s := range rest {
		switch {
		case s.item != "":
			flush()
			out = append(out, part(s, ""))
		case s.field == "value" && i > 0 && rest[i-1].field == "env":
		case dotted == "":
			dotted = s.field
		default:
			dotted += "." + s.field
		}
	}
	flush()
	return out
}

// parts are the parts of the pod that changes touch, each once.
func parts(cs []change) []string {
	var out []string
	for _, c := range cs {
		if len(c.path) < 2 || c.path[0].field != "spec" || c.path[1].field != "template" {
			continue
		}
		if head, _ := headline(c.path); !slices.Contains(out, head) {
			out = append(out, head)
		}
	}
	return out
}
