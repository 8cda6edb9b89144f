package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	kjson "sigs.k8s.io/json"
)

// strictDecode decodes and returns what is wrong, one line a problem. Unknown fields under status are left alone: another
// version of seictl may have written them.
func strictDecode(raw []byte, into any) []string {
	if problems := badValues(raw); len(problems) > 0 {
		return problems
	}
	strict, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return []string{typeError("", err)}
	}
	var problems []string
	for _, e := range strict {
		path, ok := unknownField(e)
		switch {
		case ok && strings.HasPrefix(path, "status."):
		case ok:
			problems = append(problems, unknownText(path, reflect.TypeOf(into)))
		default:
			problems = append(problems, e.Error())
		}
	}
	return problems
}

func unknownField(err error) (string, bool) {
	if !strings.HasPrefix(err.Error(), "unknown field ") {
		return "", false
	}
	var fe kjson.FieldError
	if errors.As(err, &fe) {
		return fe.FieldPath(), true
	}
	return "", false
}

// typeError says which field is of the wrong type, what was found and what is wanted.
func typeError(prefix string, err error) string {
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) && te.Field != "" {
		return fmt.Sprintf("%s%s: found a %s, wanted %s", prefix, te.Field, te.Value, wantedType(te.Type))
	}
	return prefix + strings.TrimPrefix(err.Error(), "json: ")
}

func wantedType(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return `a string (put it in quotes)`
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	}
	return "a mapping"
}

var index = regexp.MustCompile(`\[\d+\]`)

// unknownText names an unknown field and the known one that is nearest to it.
func unknownText(path string, root reflect.Type) string {
	parts := strings.Split(index.ReplaceAllString(path, ""), ".")
	known := fieldNames(descend(root, parts[:len(parts)-1]))
	last := parts[len(parts)-1]
	parent := strings.Join(parts[:len(parts)-1], ".")
	switch near := nearest(last, known); {
	case near != "":
		if parent != "" {
			near = parent + "." + near
		}
		return fmt.Sprintf("unknown field %s: did you mean %s?", path, near)
	case len(known) == 0:
		return fmt.Sprintf("unknown field %s: %s takes no fields", path, parent)
	default:
		return fmt.Sprintf("unknown field %s: known there are %s", path, strings.Join(known, ", "))
	}
}

// descend follows JSON names from a type.
func descend(t reflect.Type, path []string) reflect.Type {
	for _, name := range path {
		if t = structOf(t); t == nil {
			return nil
		}
		f, ok := jsonField(t, name)
		if !ok {
			return nil
		}
		t = f.Type
	}
	return structOf(t)
}

func structOf(t reflect.Type) reflect.Type {
	for t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

func jsonField(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		if jsonName(f) == name {
			return f, true
		}
		if f.Anonymous && jsonName(f) == "" {
			if inner, ok := jsonField(structOf(f.Type), name); ok {
				return inner, true
			}
		}
	}
	return reflect.StructField{}, false
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func fieldNames(t reflect.Type) []string {
	if t == nil {
		return nil
	}
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		switch name := jsonName(f); {
		case name == "-":
		case name != "":
			out = append(out, name)
		case f.Anonymous:
			out = append(out, fieldNames(structOf(f.Type))...)
		}
	}
	sort.Strings(out)
	return out
}

// nearest is the known name that is few edits away; empty when none is.
func nearest(name string, known []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of edits, a swap of neighbours counting as one.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// badValues looks at the values of maps before they are decoded: the decoders do not say which key it was.
func badValues(raw []byte) []string {
	var tree map[string]any
	if json.Unmarshal(raw, &tree) != nil {
		return nil
	}
	var problems []string
	for _, base := range []string{"spec", "spec.template.spec"} {
		for _, m := range []string{"overrides", "podLabels"} {
			path := base + "." + m
			values := lookup(tree, strings.Split(path, "."))
			for _, k := range sortedKeys(values) {
				if _, ok := values[k].(string); !ok {
					problems = append(problems, fmt.Sprintf("%s.%s: found %v, wanted a string (put it in quotes)", path, k, values[k]))
				}
			}
		}
		for _, list := range []string{"limits", "requests"} {
			path := base + ".sidecar.resources." + list
			values := lookup(tree, strings.Split(path, "."))
			for _, k := range sortedKeys(values) {
				if text, ok := values[k].(string); ok {
					if _, err := resource.ParseQuantity(text); err != nil {
						problems = append(problems, fmt.Sprintf("%s.%s: found %q, wanted a quantity such as \"500m\" or \"2Gi\"", path, k, text))
					}
				}
			}
		}
	}
	return problems
}

func lookup(tree map[string]any, path []string) map[string]any {
	for _, p := range path {
		tree, _ = tree[p].(map[string]any)
	}
	return tree
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
