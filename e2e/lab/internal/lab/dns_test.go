package lab

import (
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func TestTheNameServerCanAskNobodyElse(t *testing.T) {
	e := &Env{Dir: "/lab"}
	config := e.dnsConfig()
	if n := strings.Count(config, "bind "+BridgeIP+"\n"); n != strings.Count(config, "\n}\n") {
		t.Errorf("every zone is served on the bridge alone:\n%s", config)
	}
	for _, plugin := range []string{"forward", "grpc", "/etc/resolv.conf", "fallthrough", "skip_verify"} {
		if strings.Contains(config, plugin) {
			t.Errorf("%s in\n%s", plugin, config)
		}
	}
}

func TestOnlyTheRealTierHasAClusterDNS(t *testing.T) {
	for name, want := range map[string]bool{tierReal: true, tierSim: false} {
		e := &Env{Dir: "/lab", Cache: "/cache", tier: tier{name: name}}
		if got := slices.ContainsFunc(e.components(), func(c component) bool { return c.name == clusterDNS }); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A lab that an older build made has its credentials, but not those that came since.
func TestAnOlderLabIsGivenTheCredentialsThatItLacks(t *testing.T) {
	e := &Env{Dir: t.TempDir(), tier: tier{ports: ports{api: apiPort}}}
	if err := e.makePKI(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(e.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(e.pki(clusterDNS + ".kubeconfig")); err != nil {
		t.Fatal(err)
	}
	if err := e.makePKI(); err != nil {
		t.Fatal(err)
	}
	admin, err := clientcmd.LoadFromFile(e.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	dns, err := clientcmd.LoadFromFile(e.pki(clusterDNS + ".kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if string(dns.Clusters["lab"].CertificateAuthorityData) != string(admin.Clusters["lab"].CertificateAuthorityData) {
		t.Error("it trusts another CA")
	}
	if after, err := os.ReadFile(e.Kubeconfig()); err != nil || string(after) != string(before) {
		t.Errorf("the administrator's was replaced (%v)", err)
	}
}
