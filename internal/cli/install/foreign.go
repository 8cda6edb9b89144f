package install

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// mayReplace refuses to replace a CRD that we did not install when stored objects have fields that ours does not know: the
// API server would drop them at the next write, and never say so.
func (i *installer) mayReplace(ctx context.Context, o *unstructured.Unstructured) error {
	if o.GetKind() != crdKind {
		return nil
	}
	found, err := i.get(ctx, o)
	if err != nil || found == nil || installedByUs(found) {
		return err
	}
	var crd apiextv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &crd); err != nil {
		return fmt.Errorf("reading our CustomResourceDefinition %s: %w", o.GetName(), err)
	}
	for v := range crd.Spec.Versions {
		if err := i.wouldLose(ctx, &crd, &crd.Spec.Versions[v], found); err != nil {
			return err
		}
	}
	return nil
}

func installedByUs(o *unstructured.Unstructured) bool {
	for _, f := range o.GetManagedFields() {
		if f.Manager == FieldOwner {
			return true
		}
	}
	return false
}

// wouldLose looks at every stored object through our schema.
func (i *installer) wouldLose(ctx context.Context, crd *apiextv1.CustomResourceDefinition, version *apiextv1.CustomResourceDefinitionVersion,
	found *unstructured.Unstructured) error {
	structural, err := structuralOf(version)
	if err != nil {
		return fmt.Errorf("reading our schema of %s: %w", crd.Name, err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.ListKind})
	if err := i.cluster.Client.List(ctx, list); err != nil {
		return fmt.Errorf("CustomResourceDefinition %s was installed by %s and its objects cannot be looked at: %w; nothing was changed",
			crd.Name, managers(found), i.cluster.Explain(err, "list", crd.Spec.Names.Plural, "", ""))
	}
	var lost []string
	for k := range list.Items {
		if paths := unknownPaths(&list.Items[k], structural); len(paths) > 0 {
			lost = append(lost, fmt.Sprintf("%s/%s (%s)", list.Items[k].GetNamespace(), list.Items[k].GetName(), strings.Join(firstOf(paths), ", ")))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("CustomResourceDefinition %s was installed by %s, and with ours %d stored objects would lose fields: %s; nothing was changed; "+
		"next: take those fields out of the objects or stay with that controller", crd.Name, managers(found), len(lost), strings.Join(firstOf(lost), ", "))
}

func structuralOf(version *apiextv1.CustomResourceDefinitionVersion) (*structuralschema.Structural, error) {
	var internal apiextensions.JSONSchemaProps
	if err := apiextv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		return nil, err
	}
	return structuralschema.NewStructural(&internal)
}

// unknownPaths are the fields of an object that a schema does not know.
func unknownPaths(o *unstructured.Unstructured, s *structuralschema.Structural) []string {
	return pruning.PruneWithOptions(o.DeepCopy().Object, s, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
}

func firstOf(s []string) []string {
	const most = 4
	if len(s) > most {
		return append(append([]string{}, s[:most]...), fmt.Sprintf("and %d more", len(s)-most))
	}
	return s
}

// managers names who wrote an object.
func managers(o *unstructured.Unstructured) string {
	var out []string
	for _, f := range o.GetManagedFields() {
		if f.Subresource == "" && !strings.Contains(strings.Join(out, " "), f.Manager) {
			out = append(out, f.Manager)
		}
	}
	if len(out) == 0 {
		return "somebody else"
	}
	return strings.Join(out, ", ")
}
