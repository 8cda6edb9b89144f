// Package config carries the manifests that seictl installs. They are kustomize bases, so that a GitOps repository can use
// them as they are; the same files are embedded here and rendered in-process with kustomize's own library, which
// k8s.io/cli-runtime brings along anyway.
package config

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

//go:embed crd base node rbac operator metrics-tls monitoring/*.yaml monitoring/*.json
var files embed.FS

// Base returns what every driver of the engine needs, once per cluster, in an order that can be applied: the namespace,
// the CRDs, the settings, the ServiceAccount that calls sidecars, and the roles.
func Base() ([]*unstructured.Unstructured, error) {
	return render("base", nil)
}

// CRDs returns the CustomResourceDefinitions of SeiNode and SeiNodeDeployment.
func CRDs() ([]*unstructured.Unstructured, error) {
	return render("crd", nil)
}

// nodeOverlay sets the namespace, and gives the cluster-wide binding a name of its own.
const nodeOverlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: %[1]s
resources:
  - ../node
patches:
  - target:
      kind: ClusterRoleBinding
    patch: |-
      - {op: add, path: /metadata/name, value: seid-node-auth-delegator-%[1]s}
    options:
      allowNameChange: true
`

// NodeNamespace returns what a namespace of nodes needs: the ServiceAccount of their pods, and the binding that lets the
// proxy ask the API server who calls.
func NodeNamespace(namespace string) ([]*unstructured.Unstructured, error) {
	if errs := validation.IsDNS1123Label(namespace); len(errs) > 0 {
		return nil, fmt.Errorf("namespace %q: %s", namespace, strings.Join(errs, "; "))
	}
	return render("overlay", map[string]string{"overlay/kustomization.yaml": fmt.Sprintf(nodeOverlay, namespace)})
}

// operatorOverlay names the operator's image.
const operatorOverlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../metrics-tls
  - ../operator
patches:
  - target: {kind: Deployment, name: seictl-operator}
    patch: |-
      - {op: replace, path: /spec/template/spec/containers/0/image, value: %q}
`

// Operator returns what runs the engine in the cluster, on top of Base: the certificate of its metrics, its account, its rights
// and its Deployment with the image given.
func Operator(image string) ([]*unstructured.Unstructured, error) {
	if image == "" || strings.ContainsFunc(image, func(r rune) bool { return r <= ' ' || r == '"' || r == '\\' }) {
		return nil, fmt.Errorf("image %q: must name a container image", image)
	}
	return render("overlay", map[string]string{"overlay/kustomization.yaml": fmt.Sprintf(operatorOverlay, image)})
}

// NeedsCertManager says whether an object of Operator is of cert-manager's kinds: the operator does without.
func NeedsCertManager(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().Group == certmanager.GroupName
}

// KeepExisting says whether an installer must leave an object that exists as it is: the settings belong to the platform
// team from the moment they were created.
func KeepExisting(o *unstructured.Unstructured) bool {
	return o.GetKind() == "ConfigMap" && o.GetName() == "seictl-config"
}

// render builds a kustomization of the embedded files and of more files on top.
func render(dir string, more map[string]string) ([]*unstructured.Unstructured, error) {
	disk, err := inMemory(more)
	if err != nil {
		return nil, fmt.Errorf("reading the embedded manifests: %w", err)
	}
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, dir)
	if err != nil {
		return nil, fmt.Errorf("rendering the embedded manifests %q: %w", dir, err)
	}
	objects := make([]*unstructured.Unstructured, 0, rendered.Size())
	for _, r := range rendered.Resources() {
		data, err := r.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", r.CurId(), err)
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(data); err != nil { // integers stay integers
			return nil, fmt.Errorf("decoding %s: %w", r.CurId(), err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

func inMemory(more map[string]string) (filesys.FileSystem, error) {
	disk := filesys.MakeFsInMemory()
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		return disk.WriteFile(path, data)
	})
	if err != nil {
		return nil, err
	}
	for path, content := range more {
		if err := disk.WriteFile(path, []byte(content)); err != nil {
			return nil, err
		}
	}
	return disk, nil
}
