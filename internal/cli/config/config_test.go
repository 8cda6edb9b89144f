package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	path := filepath.Join(dir, "seictl", "config.yaml")

	p, err := Load("")
	require.NoError(t, err)
	require.Empty(t, p.Path)

	write(t, path, "color: never\nchains:\n  arctic-1: {issuerName: ca, issuerKind: Issuer}\n")
	p, err = Load("")
	require.NoError(t, err)
	require.Equal(t, path, p.Path)
	require.Equal(t, "ca", p.Chains["arctic-1"].IssuerName)
	require.Equal(t, "Issuer", p.Chains["arctic-1"].IssuerKind)

	t.Setenv("SEICTL_COLOR", "always")
	t.Setenv("SEICTL_LOCK_TIMEOUT", "5m")
	p, err = Load("")
	require.NoError(t, err)
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	color := fs.String("color", "auto", "")
	patience := fs.Duration("lock-timeout", 0, "")
	require.NoError(t, p.Preset(fs))
	require.Equal(t, "always", *color)
	require.Equal(t, "5m0s", patience.String())
}

func TestFlagBeatsPreference(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("SEICTL_COLOR", "always")
	p, err := Load("")
	require.NoError(t, err)
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	color := fs.String("color", "auto", "")
	require.NoError(t, fs.Parse([]string{"--color", "never"}))
	require.NoError(t, p.Preset(fs))
	require.Equal(t, "never", *color)
}

func TestLoadErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	_, err := Load(path)
	require.ErrorContains(t, err, path)
	write(t, path, "colour: never\n")
	_, err = Load(path)
	require.ErrorContains(t, err, "colour")
	require.NotContains(t, err.Error(), "\n")
}
