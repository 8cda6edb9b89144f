package fleet

import (
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Marks of what manages an object from a repository.
const (
	argoTracking  = "argocd.argoproj.io/tracking-id"
	argoInstance  = "argocd.argoproj.io/instance"
	appInstance   = "app.kubernetes.io/instance"
	appManagedBy  = "app.kubernetes.io/managed-by"
	helmRelease   = "meta.helm.sh/release-name"
	fluxKustomize = "kustomize.toolkit.fluxcd.io/name"
	fluxHelm      = "helm.toolkit.fluxcd.io/name"
)

// gitOpsManagers are field managers that write an object again and again.
var gitOpsManagers = map[string]string{
	"argocd-controller": "Argo CD", "argocd-application-controller": "Argo CD",
	"kustomize-controller": "Flux", "helm-controller": "Flux",
}

// ManagedBy names what manages an object from a repository and would put an edit back; empty for nothing.
func ManagedBy(o metav1.Object) string {
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	helm := annotations[helmRelease] != "" || labels[appManagedBy] == "Helm"
	switch {
	case annotations[argoTracking] != "":
		app, _, _ := strings.Cut(annotations[argoTracking], ":")
		return "Argo CD application " + app
	case labels[argoInstance] != "":
		return "Argo CD application " + labels[argoInstance]
	case labels[fluxKustomize] != "":
		return "Flux Kustomization " + labels[fluxKustomize]
	case labels[fluxHelm] != "":
		return "Flux HelmRelease " + labels[fluxHelm]
	case labels[appInstance] != "" && !helm:
		// Argo CD's tracking by label.
		return "Argo CD application " + labels[appInstance]
	}
	for _, f := range o.GetManagedFields() {
		if by, ok := gitOpsManagers[f.Manager]; ok && f.Subresource == "" {
			return by + " (field manager " + f.Manager + ")"
		}
	}
	return ""
}

// TLSManagers are the field managers of an object's TLS, besides seictl-cli: who may write it again.
func TLSManagers(o metav1.Object, kind string) []string {
	path := []string{"f:spec", "f:sidecar", "f:tls"}
	if kind == KindDeployment {
		path = []string{"f:spec", "f:template", "f:spec", "f:sidecar", "f:tls"}
	}
	var out []string
	for _, f := range o.GetManagedFields() {
		if f.Subresource != "" || f.FieldsV1 == nil || f.Manager == FieldManager || slices.Contains(out, f.Manager) {
			continue
		}
		var fields map[string]any
		if json.Unmarshal(f.FieldsV1.GetRawBytes(), &fields) == nil && has(fields, path) {
			out = append(out, f.Manager)
		}
	}
	return out
}

// FieldManager of what a rollout edits.
const FieldManager = "seictl-cli"

func has(fields map[string]any, path []string) bool {
	for _, p := range path {
		next, ok := fields[p].(map[string]any)
		if !ok {
			return false
		}
		fields = next
	}
	return true
}

// lastWriter is who wrote an object's spec last.
func lastWriter(o metav1.Object) string {
	name := "somebody"
	var at metav1.Time
	for _, f := range o.GetManagedFields() {
		if f.Subresource == "" && f.Time != nil && f.Manager != FieldManager && !f.Time.Before(&at) {
			name, at = f.Manager, *f.Time
		}
	}
	return name
}
