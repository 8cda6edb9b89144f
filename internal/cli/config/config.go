// Package config reads the preferences of the person or job that runs seictl: a file and SEICTL_* variables. What a node or
// the platform should be is never among them.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"sei.io/seictl/pkg/settings"
)

// flags that a preference can preset, by the flag's name.
var flags = []string{"color", "output", "timeout", "lock-timeout"}

// Preferences of the client.
type Preferences struct {
	// Chains are defaults of the TLS flags by chain; those in the cluster's settings come first.
	Chains map[string]settings.ChainDefaults
	// Path of the file that was read; empty when there was none.
	Path string

	values map[string]string
}

// file is the shape of the file.
type file struct {
	Color       string           `mapstructure:"color"`
	Output      string           `mapstructure:"output"`
	Timeout     string           `mapstructure:"timeout"`
	LockTimeout string           `mapstructure:"lock-timeout"`
	Chains      map[string]chain `mapstructure:"chains"`
}

type chain struct {
	IssuerName string `mapstructure:"issuerName"`
	IssuerKind string `mapstructure:"issuerKind"`
}

// Load reads path or, when it is empty, $SEICTL_CONFIG or the file config.yaml in the user's configuration directory, which
// need not exist.
func Load(path string) (*Preferences, error) {
	v := viper.New()
	v.SetConfigType("yaml")
	v.SetEnvPrefix("SEICTL")
	v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	for _, name := range append([]string{"config"}, flags...) {
		if err := v.BindEnv(name); err != nil {
			return nil, fmt.Errorf("reading the environment: %w", err)
		}
	}
	if path == "" {
		path = v.GetString("config")
	}
	required := path != ""
	if !required {
		path = defaultPath()
	}
	p := &Preferences{values: map[string]string{}}
	if path != "" {
		v.SetConfigFile(path)
		err := v.ReadInConfig()
		switch {
		case err == nil:
			p.Path = path
		case errors.Is(err, fs.ErrNotExist) && !required:
		default:
			return nil, fmt.Errorf("reading the configuration %s: %w", path, err)
		}
	}
	return p, p.read(v)
}

func (p *Preferences) read(v *viper.Viper) error {
	var f file
	// What BindEnv knows under "config" is no key of the file.
	known := v.AllSettings()
	delete(known, "config")
	strict := viper.New()
	if err := strict.MergeConfigMap(known); err != nil {
		return fmt.Errorf("reading the configuration %s: %w", p.Path, err)
	}
	if err := strict.UnmarshalExact(&f); err != nil {
		return fmt.Errorf("reading the configuration %s: %s (known are %s and chains)", p.Path,
			strings.ReplaceAll(err.Error(), "\n", " "), strings.Join(flags, ", "))
	}
	for _, name := range flags {
		if s := v.GetString(name); s != "" {
			p.values[name] = s
		}
	}
	p.Chains = map[string]settings.ChainDefaults{}
	for name, c := range f.Chains {
		p.Chains[name] = settings.ChainDefaults{IssuerName: c.IssuerName, IssuerKind: c.IssuerKind}
	}
	return nil
}

func defaultPath() string {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "seictl", "config.yaml")
}

// Preset sets the flags that were not given and that a preference knows.
func (p *Preferences) Preset(fs *pflag.FlagSet) error {
	var failed error
	fs.VisitAll(func(f *pflag.Flag) {
		value, ok := p.values[f.Name]
		if !ok || f.Changed || !slices.Contains(flags, f.Name) || failed != nil {
			return
		}
		if err := f.Value.Set(value); err != nil {
			failed = fmt.Errorf("preference %s=%q from SEICTL_%s or %s: %w", f.Name, value,
				strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")), p.where(), err)
		}
	})
	return failed
}

func (p *Preferences) where() string {
	if p.Path == "" {
		return "no file"
	}
	return p.Path
}
