// Package v1alpha1 holds the API types of group sei.io: SeiNode and SeiNodeDeployment.
//
// The types are the source of truth: CRDs and deepcopy functions are generated from them.
//
// +kubebuilder:object:generate=true
// +groupName=sei.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of the types in this package.
	GroupVersion = schema.GroupVersion{Group: "sei.io", Version: "v1alpha1"}

	// SchemeBuilder collects the functions that add the types of this package to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme adds the types of this package to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&SeiNode{}, &SeiNodeList{},
		&SeiNodeDeployment{}, &SeiNodeDeploymentList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
