package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"sei.io/seictl/internal/crdcases"
)

// schema is what the API server makes of one CRD.
type schema struct {
	structural *structuralschema.Structural
	openAPI    validation.SchemaValidator
	rules      *cel.Validator
}

// crds are the embedded CRDs as the API server holds them, by kind.
func crds(t *testing.T) map[string]*apiextensions.CustomResourceDefinition {
	t.Helper()
	objects, err := CRDs()
	require.NoError(t, err)
	found := map[string]*apiextensions.CustomResourceDefinition{}
	for _, o := range objects {
		var v1 apiextensionsv1.CustomResourceDefinition
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &v1))
		apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
		var crd apiextensions.CustomResourceDefinition
		require.NoError(t, apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &crd, nil))
		crd.Status.StoredVersions = []string{"v1alpha1"}
		found[crd.Spec.Names.Kind] = &crd
	}
	return found
}

func schemas(t *testing.T) map[string]schema {
	t.Helper()
	found := map[string]schema{}
	for kind, crd := range crds(t) {
		versioned, err := apiextensions.GetSchemaForVersion(crd, "v1alpha1")
		require.NoError(t, err)
		structural, err := structuralschema.NewStructural(versioned.OpenAPIV3Schema)
		require.NoError(t, err)
		openAPI, _, err := validation.NewSchemaValidator(versioned.OpenAPIV3Schema)
		require.NoError(t, err)
		found[kind] = schema{structural, openAPI, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
	}
	return found
}

// admit does to an object what the API server does, with strict field validation.
func (s schema) admit(t *testing.T, o, old *unstructured.Unstructured) field.ErrorList {
	t.Helper()
	var errs field.ErrorList
	unknown := pruning.PruneWithOptions(o.Object, s.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		errs = append(errs, field.InternalError(nil, &unknownFieldError{path}))
	}
	defaulting.Default(o.Object, s.structural)
	errs = append(errs, validation.ValidateCustomResource(nil, o.Object, s.openAPI)...)
	if len(errs) > 0 {
		return errs // the API server runs no rule on an object of the wrong shape
	}
	var before any
	if old != nil {
		before = old.Object
	}
	broken, _ := s.rules.Validate(t.Context(), nil, s.structural, o.Object, before, celconfig.RuntimeCELCostBudget)
	return broken
}

type unknownFieldError struct{ path string }

func (e *unknownFieldError) Error() string { return `unknown field "` + e.path + `"` }

func TestCRDsAreValid(t *testing.T) {
	t.Parallel()
	found := crds(t)
	require.Len(t, found, 2)
	for kind, crd := range found {
		// Costs of the CEL rules included.
		require.Empty(t, crdvalidation.ValidateCustomResourceDefinition(t.Context(), crd), kind)
	}
}

func TestCRDsPreserveNoUnknownFields(t *testing.T) {
	t.Parallel()
	objects, err := CRDs()
	require.NoError(t, err)
	for _, o := range objects {
		data, err := o.MarshalJSON()
		require.NoError(t, err)
		require.NotContains(t, string(data), "preserve-unknown-fields", o.GetName())
		// kubectl apply keeps a copy in an annotation, and 262144 bytes is what annotations may have.
		require.Less(t, len(data), 150_000, o.GetName())
	}
}

func TestSchemaRules(t *testing.T) {
	t.Parallel()
	byKind := schemas(t)
	for _, c := range crdcases.All() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			s := byKind[c.Kind]
			o, err := c.Created()
			require.NoError(t, err)
			errs := s.admit(t, o, nil)
			if c.Update != "" {
				require.Empty(t, errs, "before the update")
				next, err := c.Updated(o)
				require.NoError(t, err)
				errs = s.admit(t, next, o)
			}
			if c.Reject == "" {
				require.Empty(t, errs)
				return
			}
			require.NotEmpty(t, errs, "was accepted")
			require.Contains(t, errs.ToAggregate().Error(), c.Reject)
		})
	}
}

func TestSchemaAcceptsFullStatus(t *testing.T) {
	t.Parallel()
	node := crdcases.FullNode()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(node)
	require.NoError(t, err)
	o := &unstructured.Unstructured{Object: object}
	require.Empty(t, schemas(t)[crdcases.Node].admit(t, o, nil))
}

func TestPrinterColumns(t *testing.T) {
	t.Parallel()
	var names []string
	for _, column := range crds(t)[crdcases.Node].Spec.AdditionalPrinterColumns {
		if column.Priority == 0 {
			names = append(names, column.Name)
		}
	}
	require.Equal(t, "Phase Chain Image TLS Secret Age", strings.Join(names, " "))
}
