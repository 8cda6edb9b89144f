package rbacproxy

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// Environment of the lab, set in the image and never by a pod template. Values are Go durations.
const (
	envReloadInterval = "LAB_TLS_RELOAD_INTERVAL"
	envAllowTTL       = "LAB_AUTHZ_ALLOW_TTL"
	envDenyTTL        = "LAB_AUTHZ_DENY_TTL"
	envTokenTTL       = "LAB_AUTHN_TTL"
)

// options are the command line.
type options struct {
	secureListenAddress string
	upstream            *url.URL
	configFile          string
	certFile            string
	keyFile             string
	allowPaths          []string
	ignorePaths         []string
	audiences           []string
	headers             headerOptions
	reloadInterval      time.Duration
	endpointsPort       int
	ttl                 cacheTTLs
	verbosity           int
}

// headerOptions say how the upstream learns who calls.
type headerOptions struct {
	enabled         bool
	userField       string
	groupsField     string
	groupsSeparator string
}

// cacheTTLs are how long answers of the API server are believed.
type cacheTTLs struct {
	allow, deny, token time.Duration
}

// parseOptions reads the command line; an unknown flag is an error, as in the real proxy.
func parseOptions(args []string, getenv func(string) string) (*options, error) {
	o := &options{}
	var upstream string
	var verbosity int
	f := pflag.NewFlagSet("kube-rbac-proxy", pflag.ContinueOnError)
	f.StringVar(&o.secureListenAddress, "secure-listen-address", "", "address to serve HTTPS on")
	f.StringVar(&upstream, "upstream", "", "URL to proxy to")
	f.StringVar(&o.configFile, "config-file", "", "file with the resource to authorize for, read once")
	f.StringVar(&o.certFile, "tls-cert-file", "", "file with the certificate; self-signed when empty")
	f.StringVar(&o.keyFile, "tls-private-key-file", "", "file with the key of the certificate")
	f.DurationVar(&o.reloadInterval, "tls-reload-interval", 0, "deprecated: how often to read the certificate files")
	f.StringSliceVar(&o.allowPaths, "allow-paths", nil, "path patterns to serve; everything else is a 404")
	f.StringSliceVar(&o.ignorePaths, "ignore-paths", nil, "path patterns to proxy without any check")
	f.StringSliceVar(&o.audiences, "auth-token-audiences", nil, "audiences a token must be for; empty takes any")
	f.BoolVar(&o.headers.enabled, "auth-header-fields-enabled", false, "tell the upstream who calls")
	f.StringVar(&o.headers.userField, "auth-header-user-field-name", "x-remote-user", "header with the user")
	f.StringVar(&o.headers.groupsField, "auth-header-groups-field-name", "x-remote-groups", "header with the groups")
	f.StringVar(&o.headers.groupsSeparator, "auth-header-groups-field-separator", "|", "between two groups")
	f.IntVar(&o.endpointsPort, "proxy-endpoints-port", 0, "port for the proxy's own /healthz, 0 for none")
	f.IntVarP(&verbosity, "v", "v", 0, "log verbosity")
	if err := f.MarkDeprecated("tls-reload-interval", "it will be removed in a future release"); err != nil {
		return nil, err
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	o.verbosity = verbosity
	if err := o.durations(getenv); err != nil {
		return nil, err
	}
	var err error
	if o.upstream, err = url.Parse(upstream); err != nil {
		return nil, fmt.Errorf("parsing --upstream: %w", err)
	}
	return o, o.validate()
}

// durations fills in what the lab shortens: a flag beats the environment, the environment beats the default. Only the
// reload interval's default is not the real proxy's one minute.
func (o *options) durations(getenv func(string) string) error {
	for _, d := range []struct {
		env      string
		into     *time.Duration
		fallback time.Duration
	}{
		{envReloadInterval, &o.reloadInterval, 2 * time.Second},
		{envAllowTTL, &o.ttl.allow, 5 * time.Minute},
		{envDenyTTL, &o.ttl.deny, 30 * time.Second},
		{envTokenTTL, &o.ttl.token, 2 * time.Minute},
	} {
		if *d.into != 0 {
			continue
		}
		*d.into = d.fallback
		text := getenv(d.env)
		if text == "" {
			continue
		}
		parsed, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("parsing %s: %w", d.env, err)
		}
		*d.into = parsed
	}
	return nil
}

func (o *options) validate() error {
	switch {
	case o.secureListenAddress == "":
		return errors.New("--secure-listen-address is not set")
	case o.upstream.Host == "":
		return errors.New("--upstream is not a URL with a host")
	case len(o.allowPaths) > 0 && len(o.ignorePaths) > 0:
		return errors.New("--allow-paths and --ignore-paths cannot be used together")
	case (o.certFile == "") != (o.keyFile == ""):
		return errors.New("--tls-cert-file and --tls-private-key-file go together")
	case o.reloadInterval <= 0:
		return errors.New("--tls-reload-interval must be positive")
	}
	for _, pattern := range append(append([]string{}, o.allowPaths...), o.ignorePaths...) {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("path pattern %q: %w", pattern, err)
		}
	}
	return nil
}

// setVerbosity hands --v to klog, which the libraries underneath log with.
func setVerbosity(level int) {
	f := flag.NewFlagSet(os.Args[0], flag.ContinueOnError)
	klog.InitFlags(f)
	// Fails for a value that is no number only, and this is one.
	_ = f.Set("v", strconv.Itoa(level))
}
