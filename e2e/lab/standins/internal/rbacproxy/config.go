package rbacproxy

import (
	"fmt"

	"sigs.k8s.io/yaml"
)

// resourceAttributes name the resource that every caller must have the right to.
type resourceAttributes struct {
	Namespace   string `json:"namespace"`
	APIGroup    string `json:"apiGroup"`
	APIVersion  string `json:"apiVersion"`
	Resource    string `json:"resource"`
	Subresource string `json:"subresource"`
	Name        string `json:"name"`
}

// readConfig reads the config file once. It is lenient on purpose: the real proxy drops what it does not know in
// silence, so that "group" for "apiGroup" becomes a 403 for everybody, and tests must be able to see that. Without a
// file, or without resourceAttributes in it, callers need the right to the path itself, and nil is returned.
func readConfig(name string, readFile func(string) ([]byte, error)) (*resourceAttributes, error) {
	if name == "" {
		return nil, nil
	}
	raw, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading the config file: %w", err)
	}
	var file struct {
		Authorization struct {
			ResourceAttributes *resourceAttributes `json:"resourceAttributes"`
		} `json:"authorization"`
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("parsing the config file: %w", err)
	}
	return file.Authorization.ResourceAttributes, nil
}
