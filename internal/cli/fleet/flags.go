package fleet

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/settings"
)

// SelectionFlags say which nodes are meant.
type SelectionFlags struct {
	Chain         string
	Selector      string
	Modes         []string
	AllNamespaces bool
}

// AddFlags adds the flags.
func (s *SelectionFlags) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.Chain, "chain", "", "the nodes of a chain, such as pacific-1, in all namespaces unless -n is given")
	fs.StringVarP(&s.Selector, "selector", "l", "", "the nodes whose labels match, such as fleet=syncer; with --chain, those of them")
	fs.StringSliceVar(&s.Modes, "mode", nil, "only nodes of these modes: archive,fullNode,replayer,validator (default: what the settings say of the chain, else all)")
	fs.BoolVarP(&s.AllNamespaces, "all-namespaces", "A", false, "in every namespace, also when the context names one (the default without -n)")
}

// Selection is what the flags select. The settings of the chain have the modes when no flag does.
func (s *SelectionFlags) Selection(f *factory.Factory, platform settings.Settings) (fleet.Selection, error) {
	out := fleet.Selection{Chain: s.Chain, Selector: s.Selector, Modes: s.Modes}
	namespace, explicit, err := f.Namespace()
	if err != nil {
		return out, err
	}
	explicit = explicit && f.Flags.Namespace != nil && *f.Flags.Namespace != ""
	switch {
	case explicit && s.AllNamespaces:
		return out, fmt.Errorf("-n %s and -A exclude each other: choose one", namespace)
	case explicit:
		out.Namespace = namespace
	}
	if len(out.Modes) == 0 {
		out.Modes = platform.Chains[s.Chain].Modes
	}
	return out, out.Validate()
}

// TargetFlags say what TLS the nodes shall have.
type TargetFlags struct {
	TLS, NoTLS                 bool
	Issuer, IssuerKind, Secret string
}

// AddFlags adds the flags that say where the certificate comes from.
func (t *TargetFlags) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&t.TLS, "tls", false, "turn TLS on (the default)")
	fs.StringVar(&t.Issuer, "issuer", "", "the cert-manager issuer of the certificates (default: the chain's, of the settings)")
	fs.StringVar(&t.IssuerKind, "issuer-kind", "", "with --issuer: ClusterIssuer (default) or Issuer")
	fs.StringVar(&t.Secret, "secret", "", "a Secret of type kubernetes.io/tls that somebody else provisions in the namespace of each node")
}

// Validate checks the flags against each other.
func (t *TargetFlags) Validate() error {
	switch {
	case t.NoTLS && (t.TLS || t.Issuer != "" || t.Secret != ""):
		return fmt.Errorf("--no-tls does not go with --tls, --issuer or --secret: choose one")
	case t.Issuer != "" && t.Secret != "":
		return fmt.Errorf("--issuer %s and --secret %s exclude each other: choose one source of the certificates", t.Issuer, t.Secret)
	case t.IssuerKind != "" && t.Issuer == "":
		return fmt.Errorf("--issuer-kind needs --issuer: add --issuer NAME")
	}
	switch t.IssuerKind {
	case "", v1alpha1.IssuerKindClusterIssuer, v1alpha1.IssuerKindIssuer:
		return nil
	}
	return fmt.Errorf("--issuer-kind: found %q, wanted ClusterIssuer or Issuer", t.IssuerKind)
}

// Goal is where the flags take a chain.
func (t *TargetFlags) Goal(f *factory.Factory, chain string, platform settings.Settings) (fleet.Goal, error) {
	switch {
	case t.NoTLS:
		return fleet.Goal{}, nil
	case t.Secret != "":
		return fleet.Goal{TLS: &v1alpha1.SidecarTLSConfig{SecretName: t.Secret}}, nil
	case t.Issuer != "":
		return fleet.Goal{TLS: (&v1alpha1.SidecarTLSConfig{IssuerName: t.Issuer, IssuerKind: t.IssuerKind}).Normalize()}, nil
	}
	for _, d := range []settings.ChainDefaults{platform.Chains[chain], f.Preferences.Chains[chain]} {
		if d.IssuerName != "" {
			return fleet.Goal{TLS: (&v1alpha1.SidecarTLSConfig{IssuerName: d.IssuerName, IssuerKind: d.IssuerKind}).Normalize()}, nil
		}
	}
	return fleet.Goal{}, fmt.Errorf("no default issuer for chain %s: add --issuer NAME or --secret NAME, or set chains.%s.issuerName in ConfigMap %s/%s",
		chain, chain, settings.Namespace, settings.ConfigMapName)
}

// StrategyFlags say how the rollout goes.
type StrategyFlags struct {
	Canary            int
	Bake              time.Duration
	MaxUnavailable    string
	MaxFailures       int
	OnFailure         string
	IncludeValidators bool
	ForceManaged      bool
	GateTimeout       time.Duration

	set *pflag.FlagSet
}

// Values of --on-failure.
const (
	onFailurePause    = "pause"
	onFailureContinue = "continue"
)

// AddFlags adds the flags.
func (s *StrategyFlags) AddFlags(fs *pflag.FlagSet) {
	s.set = fs
	fs.IntVar(&s.Canary, "canary", 1, "how many nodes go first; when one of them fails, nothing else is touched; 0 for none")
	fs.DurationVar(&s.Bake, "bake", 0, "watch the canaries this long, such as 30m, before the rest starts")
	fs.StringVar(&s.MaxUnavailable, "max-unavailable", "", "how many nodes go at once, a number or a percentage of the chain's nodes (default: the settings of the chain, else its budget)")
	fs.IntVar(&s.MaxFailures, "max-failures", 0, "how many nodes may fail before nothing more starts")
	fs.StringVar(&s.OnFailure, "on-failure", onFailurePause, "when more fail: pause, or continue with the other nodes; a canary that fails always ends it")
	fs.BoolVar(&s.IncludeValidators, "include-validators", false, "change validators as well, last and one at a time")
	fs.BoolVar(&s.ForceManaged, "force-managed", false, "edit objects that Argo CD or Flux manages, which may put them back")
	fs.DurationVar(&s.GateTimeout, "gate-timeout", 15*time.Minute, "how long a node may take to be healthy after its change: pod Ready, TLS verified, sidecar 200, seid caught up and moving")
}

// typed says whether a flag was given.
func (s *StrategyFlags) typed(flag string) bool { return s.set != nil && s.set.Changed(flag) }

// Strategy is what the flags say, with the chain's own width where none does.
func (s *StrategyFlags) Strategy(chain string, platform settings.Settings) (fleet.Strategy, error) {
	width := platform.RolloutMaxUnavailable(chain)
	if s.MaxUnavailable != "" {
		width = intstr.Parse(s.MaxUnavailable)
	}
	out := fleet.Strategy{
		Canary: s.Canary, Bake: s.Bake, MaxUnavailable: width, MaxFailures: s.MaxFailures, Continue: s.OnFailure == onFailureContinue,
		IncludeValidators: s.IncludeValidators, ForceManaged: s.ForceManaged, GateTimeout: s.GateTimeout,
	}
	switch n, err := intstr.GetScaledValueFromIntOrPercent(&width, 100, false); {
	case err != nil || n < 1 || (width.Type == intstr.String && n > 100):
		return out, fmt.Errorf("--max-unavailable: found %q, wanted a number of at least 1, or a percentage such as 10%%", width.String())
	case s.Canary < 0:
		return out, fmt.Errorf("--canary: found %d, wanted 0 or more", s.Canary)
	case s.MaxFailures < 0:
		return out, fmt.Errorf("--max-failures: found %d, wanted 0 or more", s.MaxFailures)
	case s.Bake < 0 || s.GateTimeout <= 0:
		return out, fmt.Errorf("--bake and --gate-timeout: wanted a duration such as 30m")
	case s.Bake > 0 && s.Canary == 0:
		return out, fmt.Errorf("--bake watches the canaries: it needs --canary 1 or more")
	case s.OnFailure != onFailurePause && s.OnFailure != onFailureContinue:
		return out, fmt.Errorf("--on-failure: found %q, wanted %s or %s", s.OnFailure, onFailurePause, onFailureContinue)
	case s.OnFailure == onFailureContinue && s.set.Changed("max-failures"):
		return out, fmt.Errorf("--on-failure continue goes on whatever fails: leave --max-failures out")
	}
	return out, nil
}

// commandLine is the command as it was typed, without secrets.
func commandLine(args []string) string {
	out := []string{"seictl"}
	hide := false
	for _, a := range args {
		name, _, inline := strings.Cut(a, "=")
		secret := name == "--token" || name == "--password"
		switch {
		case hide:
			a, hide = "…", false
		case secret && inline:
			a = name + "=…"
		case secret:
			hide = true
		}
		if strings.ContainsAny(a, " \"'$") {
			a = "'" + a + "'"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}
