package rbacproxy

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func noEnvironment(string) string { return "" }

func TestOptions(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{
		"--secure-listen-address=0.0.0.0:8443", "--upstream=http://127.0.0.1:7777/", "--ignore-paths=/a,/b",
		"--auth-token-audiences=sei-sidecar", "--auth-header-fields-enabled=true", "--v=2",
		"--tls-cert-file=c", "--tls-private-key-file=k", "--config-file=f",
	}, noEnvironment)
	require.NoError(t, err)
	require.Equal(t, []string{"/a", "/b"}, o.ignorePaths)
	require.Equal(t, []string{"sei-sidecar"}, o.audiences)
	require.True(t, o.headers.enabled)
	require.Equal(t, "127.0.0.1:7777", o.upstream.Host)
	require.Equal(t, 2*time.Second, o.reloadInterval)
	require.Equal(t, cacheTTLs{allow: 5 * time.Minute, deny: 30 * time.Second, token: 2 * time.Minute}, o.ttl)
}

func TestEnvironmentShortensTimes(t *testing.T) {
	t.Parallel()
	environment := map[string]string{envReloadInterval: "1m", envDenyTTL: "1s"}
	getenv := func(name string) string { return environment[name] }
	must := []string{"--secure-listen-address=:0", "--upstream=http://h/"}
	o, err := parseOptions(must, getenv)
	require.NoError(t, err)
	require.Equal(t, time.Minute, o.reloadInterval)
	require.Equal(t, time.Second, o.ttl.deny)

	o, err = parseOptions(append(must, "--tls-reload-interval=3s"), getenv)
	require.NoError(t, err)
	require.Equal(t, 3*time.Second, o.reloadInterval, "the flag beats the environment")
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	good := []string{"--secure-listen-address=:0", "--upstream=http://h/"}
	for name, args := range map[string][]string{
		"nothing":                  nil,
		"no upstream":              good[:1],
		"unknown flag":             append(good[:2:2], "--frobnicate"),
		"allow and ignore":         append(good[:2:2], "--allow-paths=/a", "--ignore-paths=/b"),
		"certificate without key":  append(good[:2:2], "--tls-cert-file=c"),
		"pattern that never works": append(good[:2:2], "--ignore-paths=["),
	} {
		_, err := parseOptions(args, noEnvironment)
		require.Error(t, err, name)
	}
}

func TestConfigIsReadLeniently(t *testing.T) {
	t.Parallel()
	write := func(text string) string {
		name := filepath.Join(t.TempDir(), "config.yaml")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	got, err := readConfig(write(`
authorization:
  resourceAttributes: {apiGroup: sei.io, apiVersion: v1alpha1, resource: seinodetasks, namespace: ns, name: node}
`), os.ReadFile)
	require.NoError(t, err)
	require.Equal(t, &resourceAttributes{
		APIGroup: "sei.io", APIVersion: "v1alpha1", Resource: "seinodetasks", Namespace: "ns", Name: "node",
	}, got)

	got, err = readConfig(write("authorization:\n  resourceAttributes: {group: sei.io, resource: seinodetasks}\n"), os.ReadFile)
	require.NoError(t, err, "an unknown field is no error")
	require.Equal(t, &resourceAttributes{Resource: "seinodetasks"}, got, "and the group is gone")

	got, err = readConfig(write("something: else\n"), os.ReadFile)
	require.NoError(t, err)
	require.Nil(t, got)

	_, err = readConfig(write("authorization: ["), os.ReadFile)
	require.Error(t, err)
	_, err = readConfig(filepath.Join(t.TempDir(), "none"), os.ReadFile)
	require.ErrorIs(t, err, os.ErrNotExist)
}
