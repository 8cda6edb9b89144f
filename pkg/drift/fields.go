package drift

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strings"
)

// exactMaps are maps whose extra live keys count: what was taken out of the spec must show. Elsewhere extra live fields
// are defaults of the API server.
var exactMaps = []string{"labels", "selector", "resources", "limits", "requests", "data"}

// listKeys identify the elements of lists, first match first.
var listKeys = []string{"name", "mountPath", "containerPort", "port", "key"}

// DiffFields returns the paths, sorted, in which live lacks or differs from what want renders. want and live are structs
// of one type, or string maps; pointers to structs work as well.
func DiffFields(want, live any, root string) []string {
	var out []string
	diffValue(toMap(ptr(want)), toMap(ptr(live)), root, &out)
	sort.Strings(out)
	return slices.Compact(out)
}

func ptr(v any) any {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Struct {
		return v
	}
	p := reflect.New(rv.Type())
	p.Elem().Set(rv)
	return p.Interface()
}

func diffValue(want, live any, path string, out *[]string) {
	switch w := want.(type) {
	case nil:
		return
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok && len(w) > 0 {
			*out = append(*out, path)
			return
		}
		diffMap(w, l, path, out)
	case []any:
		l, ok := live.([]any)
		if !ok && len(w) > 0 {
			*out = append(*out, path)
			return
		}
		diffList(w, l, path, out)
	default:
		if !sameScalar(want, live) {
			*out = append(*out, path)
		}
	}
}

func diffMap(want, live map[string]any, path string, out *[]string) {
	last := path[strings.LastIndex(path, ".")+1:]
	if last == "resources" {
		want = withDefaultRequests(want)
	}
	for k, v := range want {
		diffValue(v, live[k], join(path, k), out)
	}
	if !slices.Contains(exactMaps, last) {
		return
	}
	for k := range live {
		if _, ok := want[k]; !ok {
			*out = append(*out, join(path, k))
		}
	}
}

// withDefaultRequests adds what the API server adds to the resources of a container: a limit without a request is the
// request as well.
func withDefaultRequests(want map[string]any) map[string]any {
	limits, ok := want["limits"].(map[string]any)
	if !ok {
		return want
	}
	requests := maps.Clone(limits)
	given, _ := want["requests"].(map[string]any)
	maps.Copy(requests, given)
	want = maps.Clone(want)
	want["requests"] = requests
	return want
}

func diffList(want, live []any, path string, out *[]string) {
	key := listKey(want, live)
	if key == "" {
		if len(want) != len(live) {
			*out = append(*out, path)
			return
		}
		for i := range want {
			diffValue(want[i], live[i], fmt.Sprintf("%s[%d]", path, i), out)
		}
		return
	}
	byKey := map[string]any{}
	for _, l := range live {
		byKey[fmt.Sprint(l.(map[string]any)[key])] = l
	}
	for _, w := range want {
		id := fmt.Sprint(w.(map[string]any)[key])
		l, ok := byKey[id]
		delete(byKey, id)
		p := fmt.Sprintf("%s[%s]", path, id)
		if !ok {
			*out = append(*out, p)
			continue
		}
		diffValue(w, l, p, out)
	}
	for id := range byKey {
		*out = append(*out, fmt.Sprintf("%s[%s]", path, id))
	}
}

// listKey is the field that identifies every element of both lists; empty when there is none.
func listKey(lists ...[]any) string {
	for _, key := range listKeys {
		if identifies(key, lists) {
			return key
		}
	}
	return ""
}

// identifies says whether every element of the lists has a field, with a value of its own within its list: one volume can
// be mounted twice under the same name.
func identifies(key string, lists [][]any) bool {
	found := false
	for _, list := range lists {
		seen := map[any]bool{}
		for _, e := range list {
			m, isMap := e.(map[string]any)
			if !isMap || m[key] == nil || seen[m[key]] {
				return false
			}
			found, seen[m[key]] = true, true
		}
	}
	return found
}

func sameScalar(a, b any) bool {
	if a == b {
		return true
	}
	return fmt.Sprint(a) == fmt.Sprint(b) && a != nil && b != nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
