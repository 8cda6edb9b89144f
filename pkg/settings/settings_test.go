package settings_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

func data(yaml string) map[string]string { return map[string]string{settings.Key: yaml} }

func TestDefaultIsValid(t *testing.T) {
	d := settings.Default()
	require.NoError(t, d.Validate())
	require.Equal(t, "quay.io/brancz/kube-rbac-proxy:v0.21.0", d.ProxyImage)
	require.Empty(t, d.SidecarImage, "the sidecar has no default image")
	require.Equal(t, 15*time.Minute, d.PodReplaceDeadline(), "the grace period comes on top")
}

func TestParseEmptyIsDefault(t *testing.T) {
	for name, in := range map[string]map[string]string{
		"no ConfigMap data": nil, "empty": data(""), "a comment": data("# nothing\n"), "null": data("null"), "{}": data("{}"),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := settings.Parse(in)
			require.NoError(t, err)
			require.Equal(t, settings.Default(), got)
		})
	}
}

func TestParseOverlaysDefaults(t *testing.T) {
	got, err := settings.Parse(data(`
sidecarImage: example.test/sei-sidecar:v1
storage: {className: fast, size: {archive: 10Ti}}
resources:
  default: {requests: {cpu: "4", memory: 16Gi}}
  archive: {requests: {cpu: 8}}
certificate: {keyAlgorithm: RSA}
deadlines: {certificate: 30s}
budgets: {maxUnavailablePerChain: 10%, chains: {pacific-1: 2}}
chains:
  arctic-1: {issuerName: sei-ca, issuerKind: Issuer, modes: [archive, fullNode], maxUnavailable: 3}
`))
	require.NoError(t, err)
	require.Equal(t, "example.test/sei-sidecar:v1", got.SidecarImage)
	require.Equal(t, "10Ti", got.StorageSize(v1alpha1.ModeArchive))
	require.Equal(t, "500Gi", got.StorageSize(v1alpha1.ModeValidator), "the default stays beside an entry")
	require.Equal(t, settings.Certificate{KeyAlgorithm: "RSA", KeySize: 2048}, got.Certificate)
	require.Equal(t, 30*time.Second, got.Deadlines.Certificate.Duration)
	require.Equal(t, 30*time.Minute, got.Deadlines.Readiness.Duration, "a deadline that is not named keeps its default")
	require.Equal(t, intstr.FromString("10%"), got.MaxUnavailable("arctic-1"))
	require.Equal(t, intstr.FromInt32(2), got.MaxUnavailable("pacific-1"))
	require.Equal(t, intstr.FromInt32(3), got.RolloutMaxUnavailable("arctic-1"))
	require.Equal(t, intstr.FromInt32(2), got.RolloutMaxUnavailable("pacific-1"), "without its own, a rollout has the budget")

	archive := got.SeidResources(v1alpha1.ModeArchive).Requests[corev1.ResourceCPU]
	require.Equal(t, "8", archive.String())
	other := got.SeidResources(v1alpha1.ModeFullNode).Requests[corev1.ResourceMemory]
	require.Equal(t, "16Gi", other.String())
}

func TestKeySizeFollowsTheAlgorithm(t *testing.T) {
	for algorithm, want := range map[string]int32{"ECDSA": 256, "RSA": 2048, "Ed25519": 0} {
		got, err := settings.Parse(data("certificate: {keyAlgorithm: " + algorithm + "}"))
		require.NoError(t, err, algorithm)
		require.Equal(t, want, got.Certificate.KeySize, algorithm)
	}
}

func TestSeidResources(t *testing.T) {
	require.Nil(t, settings.Default().SeidResources(v1alpha1.ModeArchive))
}

// Defaults must survive a round trip, or `install` could not print them for an administrator to edit.
func TestDefaultRoundTrip(t *testing.T) {
	raw, err := yaml.Marshal(settings.Default())
	require.NoError(t, err)
	got, err := settings.Parse(data(string(raw)))
	require.NoError(t, err)
	require.Equal(t, settings.Default(), got)
}

// Every error has to name the field, what was found and what was wanted.
func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		yaml string
		says []string
	}{
		"unknown field":          {"sidecarimage: x", []string{`unknown field "sidecarimage"`}},
		"unknown nested field":   {"deadlines: {certificat: 5m}", []string{`unknown field "deadlines.certificat"`}},
		"duplicate field":        {"proxyImage: a\nproxyImage: b", []string{"proxyImage", "already set"}},
		"not a mapping":          {"[1, 2]", []string{"config.yaml", "must be a mapping"}},
		"not YAML":               {"a: [", []string{"config.yaml", "not valid YAML"}},
		"wrong type":             {"terminationGracePeriodSeconds: soon", []string{"terminationGracePeriodSeconds", "string", "int64"}},
		"duration":               {"deadlines: {observe: 5 minutes}", []string{"deadlines.observe", `"5 minutes"`, "must be a duration"}},
		"duration as a number":   {"backoff: {initial: 60}", []string{"backoff.initial", "60", "must be a duration"}},
		"duration null":          {"deadlines: {apply: null}", []string{"deadlines.apply", "null", "must be a duration"}},
		"duration zero":          {"deadlines: {apply: 0s}", []string{"deadlines.apply", "0s", "more than zero"}},
		"backoff upside down":    {"backoff: {initial: 1h, max: 1m}", []string{"backoff.max", "1m0s", "backoff.initial, 1h0m0s"}},
		"storage quantity":       {"storage: {size: {default: big}}", []string{"storage.size.default", `"big"`, "must be a quantity"}},
		"storage of nothing":     {"storage: {size: {archive: \"0\"}}", []string{"storage.size.archive", `"0"`, "more than zero"}},
		"storage of no mode":     {"storage: {size: {full: 1Ti}}", []string{"storage.size", `"full"`, `"fullNode"`, `"default"`}},
		"storage class":          {"storage: {className: Fast_SSD}", []string{"storage.className", `"Fast_SSD"`}},
		"resource quantity":      {"resources: {archive: {limits: {memory: lots}}}", []string{"resources[archive].limits.memory", `"lots"`, "must be a quantity"}},
		"resource mode":          {"resources: {syncer: {}}", []string{"resources", `"syncer"`, `"archive"`}},
		"request over limit":     {"resources: {default: {limits: {cpu: 1}, requests: {cpu: 2}}}", []string{"resources[default].requests.cpu", `"2"`, "limit, 1"}},
		"negative resource":      {"resources: {default: {requests: {cpu: -1}}}", []string{"resources[default].requests.cpu", `"-1"`, "negative"}},
		"resource claims":        {"resources: {default: {claims: [{name: x}]}}", []string{"resources[default].claims"}},
		"key algorithm":          {"certificate: {keyAlgorithm: DSA}", []string{"certificate.keyAlgorithm", `"DSA"`, `"ECDSA"`}},
		"key size":               {"certificate: {keySize: 2048}", []string{"certificate.keySize", "2048", "256"}},
		"key size of Ed25519":    {"certificate: {keyAlgorithm: Ed25519, keySize: 256}", []string{"certificate.keySize", "256", "left out"}},
		"percentage":             {"budgets: {maxUnavailablePerChain: 150%}", []string{"budgets.maxUnavailablePerChain", `"150%"`, "1% to 100%"}},
		"percentage of nothing":  {"budgets: {maxUnavailablePerChain: 0%}", []string{"budgets.maxUnavailablePerChain", `"0%"`}},
		"budget zero":            {"budgets: {chains: {arctic-1: 0}}", []string{"budgets.chains[arctic-1]", `"0"`, "at least 1"}},
		"rollout width":          {"chains: {arctic-1: {maxUnavailable: ten}}", []string{"chains[arctic-1].maxUnavailable", `"ten"`}},
		"issuer kind":            {"chains: {a: {issuerName: x, issuerKind: Vault}}", []string{"chains[a].issuerKind", `"Vault"`, `"ClusterIssuer"`}},
		"issuer kind alone":      {"chains: {a: {issuerKind: Issuer}}", []string{"chains[a].issuerName", "names no issuer"}},
		"chain mode":             {"chains: {a: {modes: [archive, full]}}", []string{"chains[a].modes[1]", `"full"`, `"fullNode"`}},
		"grace period":           {"terminationGracePeriodSeconds: 0", []string{"terminationGracePeriodSeconds", "0", "at least 1"}},
		"grace period of years":  {"terminationGracePeriodSeconds: 100000000000", []string{"terminationGracePeriodSeconds", "at most 86400"}},
		"init attempts":          {"initAttempts: 0", []string{"initAttempts", "0", "at least 1"}},
		"cluster domain":         {"clusterDomain: .local", []string{"clusterDomain", `".local"`}},
		"service account":        {"nodeServiceAccount: ''", []string{"nodeServiceAccount"}},
		"image with a space":     {"proxyImage: 'a b'", []string{"proxyImage", `"a b"`, "image reference"}},
		"no default of the size": {"storage: {size: null}", []string{"storage.size.default", "Required"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := settings.Parse(data(c.yaml))
			require.Error(t, err)
			require.ErrorContains(t, err, "ConfigMap sei-system/seictl-config")
			for _, says := range c.says {
				require.ErrorContains(t, err, says)
			}
		})
	}
}

func TestParseRefusesUnknownKeys(t *testing.T) {
	_, err := settings.Parse(map[string]string{"config.yml": "x: 1"})
	require.ErrorContains(t, err, `unknown key "config.yml": the only key is "config.yaml"`)
}

func TestParseReportsEveryFault(t *testing.T) {
	_, err := settings.Parse(data("initAttempts: 0\nterminationGracePeriodSeconds: -1"))
	require.ErrorContains(t, err, "initAttempts")
	require.ErrorContains(t, err, "terminationGracePeriodSeconds")
}

func FuzzParse(f *testing.F) {
	f.Add("storage: {size: {archive: 10Ti}}")
	f.Add("deadlines: {certificate: 1h}\nresources: {default: {limits: {cpu: 1}}}")
	f.Add("budgets: {maxUnavailablePerChain: 10%}")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := settings.Parse(data(text))
		if err == nil {
			require.NoError(t, s.Validate())
		}
	})
}
