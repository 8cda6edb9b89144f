package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/config"
)

// ourSchemas are the schemas that this seictl was built with, by kind.
func ourSchemas() (map[string]map[string]any, error) {
	crds, err := config.CRDs()
	if err != nil {
		return nil, fmt.Errorf("reading our CRDs: %w", err)
	}
	out := map[string]map[string]any{}
	for _, crd := range crds {
		spec, _ := crd.Object["spec"].(map[string]any)
		names, _ := spec["names"].(map[string]any)
		kind, _ := names["kind"].(string)
		versions, _ := spec["versions"].([]any)
		for _, v := range versions {
			version, _ := v.(map[string]any)
			if version["name"] != v1alpha1.GroupVersion.Version {
				continue
			}
			schema, _ := version["schema"].(map[string]any)
			out[kind], _ = schema["openAPIV3Schema"].(map[string]any)
		}
	}
	return out, nil
}

// servedSchemas are the schemas that the API server prunes and validates with, by kind; empty when the group is not served.
func servedSchemas(ctx context.Context, c openapi.Client) (map[string]map[string]any, error) {
	paths, err := c.Paths()
	if err != nil {
		return nil, fmt.Errorf("reading the API server's schemas: %w", err)
	}
	gv, served := paths["apis/"+v1alpha1.GroupVersion.String()]
	if !served || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	data, err := gv.Schema("application/json")
	if err != nil {
		return nil, fmt.Errorf("reading the API server's schema of %s: %w", v1alpha1.GroupVersion, err)
	}
	var document struct {
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("decoding the API server's schema of %s: %w", v1alpha1.GroupVersion, err)
	}
	out := map[string]map[string]any{}
	for _, schema := range document.Components.Schemas {
		list, _ := schema["x-kubernetes-group-version-kind"].([]any)
		for _, item := range list {
			gvk, _ := item.(map[string]any)
			if kind, _ := gvk["kind"].(string); gvk["group"] == v1alpha1.GroupVersion.Group && kind != "" {
				out[kind] = schema
			}
		}
	}
	return out, nil
}

// unknownFields are the paths of our schema that the served one lacks: the API server would drop them in silence. Of a
// part that is missing as a whole only its own path is told.
func unknownFields(ours, served map[string]any, path string) []string {
	if served == nil {
		return []string{path}
	}
	if keep, _ := served["x-kubernetes-preserve-unknown-fields"].(bool); keep {
		return nil
	}
	var out []string
	theirs, _ := served["properties"].(map[string]any)
	properties, _ := ours["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if path == "" && (name == "metadata" || name == "apiVersion" || name == "kind") {
			continue
		}
		mine, _ := properties[name].(map[string]any)
		other, _ := theirs[name].(map[string]any)
		p := name
		if path != "" {
			p = path + "." + name
		}
		out = append(out, unknownFields(mine, other, p)...)
	}
	for _, inner := range []string{"items", "additionalProperties"} {
		mine, _ := ours[inner].(map[string]any)
		other, _ := served[inner].(map[string]any)
		if mine["properties"] != nil || mine["items"] != nil {
			out = append(out, unknownFields(mine, other, path+"[]")...)
		}
	}
	return out
}

// Schemas say which of our fields the cluster does not know, by kind.
type Schemas struct {
	// Served says whether a kind is served at all.
	Served map[string]bool
	// Unpublished says of a kind that it is served, and its schema not published yet: an API server takes a moment for that after
	// its start, and after a CRD was made.
	Unpublished map[string]bool
	// Unknown are the fields that would be dropped.
	Unknown map[string][]string
}

// ask looks in the discovery for the kinds that have no schema.
func (s *Schemas) ask(d discovery.ServerResourcesInterface) {
	missing := func(kind string) bool { served, ours := s.Served[kind]; return ours && !served }
	if !slices.ContainsFunc(slices.Collect(maps.Keys(s.Served)), missing) {
		return
	}
	list, err := d.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	if err != nil {
		return // nothing says that they are served
	}
	s.Unpublished = map[string]bool{}
	for i := range list.APIResources {
		if kind := list.APIResources[i].Kind; missing(kind) {
			s.Unpublished[kind] = true
		}
	}
}

func schemasOf(ctx context.Context, c openapi.Client) (Schemas, error) {
	ours, err := ourSchemas()
	if err != nil {
		return Schemas{}, err
	}
	served, err := servedSchemas(ctx, c)
	if err != nil {
		return Schemas{}, err
	}
	out := Schemas{Served: map[string]bool{}, Unknown: map[string][]string{}}
	for kind, schema := range ours {
		if out.Served[kind] = served[kind] != nil; out.Served[kind] {
			out.Unknown[kind] = unknownFields(schema, served[kind], "")
		}
	}
	return out, nil
}
