package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestATierHasADirectoryAndPortsOfItsOwn(t *testing.T) {
	t.Setenv("SEICTL_LAB_DIR", "")
	t.Setenv("XDG_STATE_HOME", "/home/somebody/state")
	tiers := map[string]*Env{}
	for name, dir := range map[string]string{"": "/var/lib/seictl-lab", "real": "/var/lib/seictl-lab", "sim": "/home/somebody/state/seictl-sim"} {
		t.Setenv("LAB", name)
		e, err := NewEnv()
		if err != nil || e.Dir != dir {
			t.Fatalf("LAB=%s: %v, %v", name, e, err)
		}
		tiers[e.tier.name] = e
	}
	if r, s := tiers["real"].ports, tiers["sim"].ports; r.api == s.api || r.etcd == s.etcd || r.faults == s.faults {
		t.Fatalf("%+v and %+v", r, s)
	}
	t.Setenv("LAB", "another")
	if _, err := NewEnv(); err == nil {
		t.Fatal("there is no such tier")
	}
}

func TestADirectoryIsOfOneTier(t *testing.T) {
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	simulated := t.TempDir()
	if err := os.WriteFile(filepath.Join(simulated, "tier"), []byte("sim"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tier, dir string
		ok        bool
	}{
		"sim in a new one":            {"sim", filepath.Join(t.TempDir(), "new"), true},
		"sim in an empty one":         {"sim", t.TempDir(), true},
		"sim in its own":              {"sim", simulated, true},
		"real in that of sim":         {"real", simulated, false},
		"sim in somebody else's":      {"sim", foreign, false},
		"real in one without a mark":  {"real", foreign, true}, // made before there were tiers
		"real where there is nothing": {"real", filepath.Join(t.TempDir(), "new"), true},
	} {
		e := &Env{Dir: c.dir, tier: tier{name: c.tier}}
		if err := e.claim(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNothingOfTheSimTierNeedsRoot(t *testing.T) {
	t.Setenv("LAB", "sim")
	t.Setenv("SEICTL_LAB_DIR", t.TempDir())
	e, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range e.components() {
		switch c.name {
		case "containerd", "kubelet", "kube-proxy":
			t.Errorf("%s is of the real tier", c.name)
		}
		if line := strings.Join(c.argv, " "); strings.Contains(line, BridgeIP) || strings.Contains(line, "0.0.0.0") {
			t.Errorf("%s is seen from elsewhere: %s", c.name, line)
		}
	}
}
