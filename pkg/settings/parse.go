package settings

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

const (
	durationWanted = `must be a duration such as "90s", "5m" or "1h"`
	quantityWanted = `must be a quantity such as "500m", "16Gi" or "2Ti"`
)

// Parse reads the data of the settings ConfigMap, on top of the defaults; empty data are the defaults. It is strict: an
// unknown field, a duplicate or a value that makes no sense is an error that names field, found and wanted.
func Parse(data map[string]string) (Settings, error) {
	s, err := parse(data)
	if err != nil {
		return Settings{}, fmt.Errorf("reading the settings in ConfigMap %s/%s: %w", Namespace, ConfigMapName, err)
	}
	return s, nil
}

func parse(data map[string]string) (Settings, error) {
	for _, k := range slices.Sorted(maps.Keys(data)) {
		if k != Key {
			return Settings{}, fmt.Errorf("unknown key %q: the only key is %q", k, Key)
		}
	}
	raw, err := yaml.YAMLToJSONStrict([]byte(data[Key]))
	if err != nil {
		return Settings{}, fmt.Errorf("%s is not valid YAML: %w", Key, err)
	}
	if err := checkScalars(raw); err != nil {
		return Settings{}, err
	}
	s := Default()
	// An algorithm without a size must not get the size of the default algorithm.
	s.Certificate.KeySize = 0
	strict, err := kjson.UnmarshalStrict(raw, &s)
	if err != nil {
		return Settings{}, fmt.Errorf("%s: %w", Key, err)
	}
	if len(strict) > 0 {
		return Settings{}, fmt.Errorf("%s: %s", Key, joinErrors(strict))
	}
	// Decoding a percentage leaves the number of the default behind it.
	if b := &s.Budgets.MaxUnavailablePerChain; b.Type == intstr.String {
		b.IntVal = 0
	}
	if s.Certificate.KeySize == 0 {
		s.Certificate.KeySize = defaultKeySize(s.Certificate.KeyAlgorithm)
	}
	return s, s.Validate()
}

func joinErrors(errs []error) string {
	text := make([]string, len(errs))
	for i, err := range errs {
		text[i] = err.Error()
	}
	return strings.Join(text, "; ")
}

// checkScalars looks at durations and quantities before they are decoded: their own decoders do not say which field it
// was. A tree of another shape than expected is left to the decoder, which does name the field then.
func checkScalars(raw []byte) error {
	var tree map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return fmt.Errorf("%s must be a mapping of settings: %w", Key, err)
	}
	var errs field.ErrorList
	for _, group := range []string{"deadlines", "backoff"} {
		errs = append(errs, checkEach(field.NewPath(group), tree[group], durationWanted, isDuration)...)
	}
	modes, _ := tree["resources"].(map[string]any)
	for _, mode := range slices.Sorted(maps.Keys(modes)) {
		requirements, _ := modes[mode].(map[string]any)
		for _, list := range []string{"limits", "requests"} {
			path := field.NewPath("resources").Key(mode).Child(list)
			errs = append(errs, checkEach(path, requirements[list], quantityWanted, isQuantity)...)
		}
	}
	return errs.ToAggregate()
}

func checkEach(path *field.Path, value any, wanted string, ok func(any) bool) field.ErrorList {
	var errs field.ErrorList
	entries, _ := value.(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		if !ok(entries[k]) {
			errs = append(errs, field.Invalid(path.Child(k), entries[k], wanted))
		}
	}
	return errs
}

func isDuration(v any) bool {
	text, ok := v.(string)
	if !ok {
		return false
	}
	_, err := time.ParseDuration(text)
	return err == nil
}

func isQuantity(v any) bool {
	switch v := v.(type) {
	case string:
		_, err := resource.ParseQuantity(v)
		return err == nil
	case float64, int64:
		return true
	}
	return false
}
