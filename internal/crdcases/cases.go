// Package crdcases lists objects that the schemas of the CRDs must accept or refuse. One test runs them offline through the
// API server's own validation code, another one against a real API server.
package crdcases

import (
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Kinds of object.
const (
	Node       = "SeiNode"
	Deployment = "SeiNodeDeployment"
)

// Case is one object, and what should become of it.
type Case struct {
	Name string
	Kind string
	// Create is a JSON merge patch, in YAML, of the smallest valid object of the kind.
	Create string
	// Update is a JSON merge patch of the created object; when it is not empty it is the update that Reject is about.
	Update string
	// Reject is a part of the expected error; empty when the object must be accepted.
	Reject string
}

var minimal = map[string]string{
	Node: `
apiVersion: sei.io/v1alpha1
kind: SeiNode
metadata: {name: ax-0}
spec:
  chainId: arctic-1
  image: lab.invalid/seid:v1
  fullNode: {}`,
	Deployment: `
apiVersion: sei.io/v1alpha1
kind: SeiNodeDeployment
metadata: {name: ax}
spec:
  template:
    spec:
      chainId: arctic-1
      image: lab.invalid/seid:v1
      fullNode: {}`,
}

// Created is the object that the case creates.
func (c Case) Created() (*unstructured.Unstructured, error) {
	return patched(minimal[c.Kind], c.Create)
}

// Updated is an object after the case's update.
func (c Case) Updated(o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	data, err := yaml.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding the object: %w", err)
	}
	return patched(string(data), c.Update)
}

func patched(base, patch string) (*unstructured.Unstructured, error) {
	object, changes := map[string]any{}, map[string]any{}
	if err := yaml.Unmarshal([]byte(base), &object); err != nil {
		return nil, fmt.Errorf("decoding the object: %w", err)
	}
	if err := yaml.Unmarshal([]byte(patch), &changes); err != nil {
		return nil, fmt.Errorf("decoding the patch: %w", err)
	}
	merge(object, changes)
	// Through JSON once more: the API server's code tells integers from floats.
	data, err := (&unstructured.Unstructured{Object: object}).MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding the object: %w", err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("decoding the object: %w", err)
	}
	return o, nil
}

// merge is RFC 7396, and follows maps to any depth.
func merge(object, patch map[string]any) {
	for key, value := range maps.All(patch) {
		if value == nil {
			delete(object, key)
			continue
		}
		changes, ok := value.(map[string]any)
		if !ok {
			object[key] = value
			continue
		}
		inner, ok := object[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			object[key] = inner
		}
		merge(inner, changes)
	}
}

func named(name string) string {
	return fmt.Sprintf("metadata: {name: %q}", name)
}

func tls(fields string) string {
	return fmt.Sprintf("spec: {sidecar: {tls: {%s}}}", fields)
}

var long = strings.Repeat("a", 53)
