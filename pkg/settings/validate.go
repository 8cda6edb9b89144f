package settings

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"sei.io/seictl/api/v1alpha1"
)

// modes of a node, in the order in which errors list them.
var modes = []string{v1alpha1.ModeFullNode, v1alpha1.ModeArchive, v1alpha1.ModeReplayer, v1alpha1.ModeValidator}

// keySizes by algorithm; the first is the default, zero means that the algorithm has one size only.
var keySizes = map[string][]int32{
	"ECDSA":   {256, 384, 521},
	"RSA":     {2048, 3072, 4096, 8192},
	"Ed25519": {0},
}

// maxGracePeriod in seconds: a day.
const maxGracePeriod = 24 * 60 * 60

var percentage = regexp.MustCompile(`^([1-9][0-9]?|100)%$`)

func defaultKeySize(algorithm string) int32 {
	if sizes, ok := keySizes[algorithm]; ok {
		return sizes[0]
	}
	return 0
}

// Validate checks the settings as a whole. A missing image is no error here: only a node that needs it has a problem.
func (s Settings) Validate() error {
	var errs field.ErrorList
	errs = append(errs, s.validatePod()...)
	errs = append(errs, s.validateStorage()...)
	errs = append(errs, s.validateResources()...)
	errs = append(errs, s.validateCertificate()...)
	errs = append(errs, s.validateTimes()...)
	errs = append(errs, s.validateBudgets()...)
	errs = append(errs, s.validateChains()...)
	return errs.ToAggregate()
}

func (s Settings) validatePod() field.ErrorList {
	var errs field.ErrorList
	for _, image := range []struct{ name, value string }{{"proxyImage", s.ProxyImage}, {"sidecarImage", s.SidecarImage}} {
		if strings.ContainsFunc(image.value, func(r rune) bool { return r <= ' ' }) {
			errs = append(errs, field.Invalid(field.NewPath(image.name), image.value, "must be an image reference without spaces"))
		}
	}
	for _, name := range []struct{ name, value string }{
		{"nodeServiceAccount", s.NodeServiceAccount}, {"clusterDomain", s.ClusterDomain},
	} {
		for _, wanted := range validation.IsDNS1123Subdomain(name.value) {
			errs = append(errs, field.Invalid(field.NewPath(name.name), name.value, wanted))
		}
	}
	if s.TerminationGracePeriodSeconds < 1 || s.TerminationGracePeriodSeconds > maxGracePeriod {
		errs = append(errs, field.Invalid(field.NewPath("terminationGracePeriodSeconds"), s.TerminationGracePeriodSeconds,
			fmt.Sprintf("must be at least 1 and at most %d: seid needs time to close its databases, but not days", maxGracePeriod)))
	}
	if s.InitAttempts < 1 {
		errs = append(errs, field.Invalid(field.NewPath("initAttempts"), s.InitAttempts, "must be at least 1"))
	}
	return errs
}

func (s Settings) validateStorage() field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("storage", "size")
	if _, ok := s.Storage.Size[DefaultMode]; !ok {
		errs = append(errs, field.Required(path.Child(DefaultMode), "a size for every mode without an entry of its own"))
	}
	for _, mode := range slices.Sorted(maps.Keys(s.Storage.Size)) {
		errs = append(errs, validateModeKey(path, mode)...)
		size := s.Storage.Size[mode]
		q, err := resource.ParseQuantity(size)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(path.Child(mode), size, quantityWanted))
		case q.Sign() <= 0:
			errs = append(errs, field.Invalid(path.Child(mode), size, "must be more than zero"))
		}
	}
	if s.Storage.ClassName == "" {
		return errs
	}
	for _, wanted := range validation.IsDNS1123Subdomain(s.Storage.ClassName) {
		errs = append(errs, field.Invalid(field.NewPath("storage", "className"), s.Storage.ClassName, wanted))
	}
	return errs
}

func (s Settings) validateResources() field.ErrorList {
	var errs field.ErrorList
	for _, mode := range slices.Sorted(maps.Keys(s.Resources)) {
		r := s.Resources[mode]
		path := field.NewPath("resources")
		errs = append(errs, validateModeKey(path, mode)...)
		if len(r.Claims) > 0 {
			errs = append(errs, field.Forbidden(path.Key(mode).Child("claims"), "node pods have no resource claims"))
		}
		errs = append(errs, validateResourceList(path.Key(mode), r)...)
	}
	return errs
}

func validateResourceList(path *field.Path, r corev1.ResourceRequirements) field.ErrorList {
	var errs field.ErrorList
	for _, list := range []struct {
		name   string
		values corev1.ResourceList
	}{{"limits", r.Limits}, {"requests", r.Requests}} {
		for _, name := range slices.Sorted(maps.Keys(list.values)) {
			if q := list.values[name]; q.Sign() < 0 {
				errs = append(errs, field.Invalid(path.Child(list.name, string(name)), q.String(), "must not be negative"))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Requests)) {
		request := r.Requests[name]
		if limit, ok := r.Limits[name]; ok && request.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests", string(name)), request.String(),
				fmt.Sprintf("must not be more than the limit, %s", limit.String())))
		}
	}
	return errs
}

func (s Settings) validateCertificate() field.ErrorList {
	path := field.NewPath("certificate")
	sizes, ok := keySizes[s.Certificate.KeyAlgorithm]
	if !ok {
		return field.ErrorList{field.NotSupported(path.Child("keyAlgorithm"), s.Certificate.KeyAlgorithm,
			slices.Sorted(maps.Keys(keySizes)))}
	}
	if slices.Contains(sizes, s.Certificate.KeySize) {
		return nil
	}
	if sizes[0] == 0 {
		return field.ErrorList{field.Invalid(path.Child("keySize"), s.Certificate.KeySize,
			fmt.Sprintf("must be left out: %s has one size only", s.Certificate.KeyAlgorithm))}
	}
	return field.ErrorList{field.Invalid(path.Child("keySize"), s.Certificate.KeySize,
		fmt.Sprintf("must be one of %v for %s", sizes, s.Certificate.KeyAlgorithm))}
}

func (s Settings) validateTimes() field.ErrorList {
	var errs field.ErrorList
	d, b := field.NewPath("deadlines"), field.NewPath("backoff")
	for _, t := range []struct {
		path  *field.Path
		value metav1.Duration
	}{
		{d.Child("certificate"), s.Deadlines.Certificate},
		{d.Child("podReplace"), s.Deadlines.PodReplace},
		{d.Child("observe"), s.Deadlines.Observe},
		{d.Child("sidecarTask"), s.Deadlines.SidecarTask},
		{d.Child("markReadyAccept"), s.Deadlines.MarkReadyAccept},
		{d.Child("readiness"), s.Deadlines.Readiness},
		{d.Child("apply"), s.Deadlines.Apply},
		{d.Child("cleanup"), s.Deadlines.Cleanup},
		{b.Child("initial"), s.Backoff.Initial},
		{b.Child("max"), s.Backoff.Max},
	} {
		if t.value.Duration <= 0 {
			errs = append(errs, field.Invalid(t.path, t.value.Duration.String(), "must be more than zero"))
		}
	}
	if s.Backoff.Max.Duration < s.Backoff.Initial.Duration {
		errs = append(errs, field.Invalid(b.Child("max"), s.Backoff.Max.Duration.String(),
			fmt.Sprintf("must not be less than backoff.initial, %s", s.Backoff.Initial.Duration)))
	}
	return errs
}

func (s Settings) validateBudgets() field.ErrorList {
	path := field.NewPath("budgets")
	errs := validateMaxUnavailable(path.Child("maxUnavailablePerChain"), s.Budgets.MaxUnavailablePerChain)
	for _, chain := range slices.Sorted(maps.Keys(s.Budgets.Chains)) {
		errs = append(errs, validateMaxUnavailable(path.Child("chains").Key(chain), s.Budgets.Chains[chain])...)
	}
	return errs
}

func (s Settings) validateChains() field.ErrorList {
	var errs field.ErrorList
	kinds := []string{v1alpha1.IssuerKindClusterIssuer, v1alpha1.IssuerKindIssuer}
	for _, chain := range slices.Sorted(maps.Keys(s.Chains)) {
		c, path := s.Chains[chain], field.NewPath("chains").Key(chain)
		if c.IssuerKind != "" && !slices.Contains(kinds, c.IssuerKind) {
			errs = append(errs, field.NotSupported(path.Child("issuerKind"), c.IssuerKind, kinds))
		}
		if c.IssuerKind != "" && c.IssuerName == "" {
			errs = append(errs, field.Required(path.Child("issuerName"), "issuerKind alone names no issuer"))
		}
		for i, mode := range c.Modes {
			if !slices.Contains(modes, mode) {
				errs = append(errs, field.NotSupported(path.Child("modes").Index(i), mode, modes))
			}
		}
		if c.MaxUnavailable != nil {
			errs = append(errs, validateMaxUnavailable(path.Child("maxUnavailable"), *c.MaxUnavailable)...)
		}
	}
	return errs
}

func validateModeKey(path *field.Path, mode string) field.ErrorList {
	known := append([]string{DefaultMode}, modes...)
	if slices.Contains(known, mode) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, mode, known)}
}

func validateMaxUnavailable(path *field.Path, v intstr.IntOrString) field.ErrorList {
	if v.Type == intstr.Int && v.IntVal >= 1 || v.Type == intstr.String && percentage.MatchString(v.StrVal) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, v.String(), "must be a number of at least 1 or a percentage from 1% to 100%")}
}
