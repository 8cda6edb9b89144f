package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// nftRules keep the lab on this machine: pods reach each other and the host,
// and only the host reaches the lab's ports.
const nftRules = `table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	chain forward {
		# Before kube-proxy's chain, which drops what has no Service: a name server
		# that is not there should be refused, not waited for.
		type filter hook forward priority -10; policy accept;
		iifname "%[2]s" ip daddr %[3]s meta l4proto tcp reject with tcp reset
		iifname "%[2]s" ip daddr %[3]s reject
		iifname "%[2]s" oifname != "%[2]s" meta l4proto tcp reject with tcp reset
		iifname "%[2]s" oifname != "%[2]s" reject
		oifname "%[2]s" iifname != "%[2]s" reject
	}
	chain input {
		type filter hook input priority 0; policy accept;
		tcp dport { %[4]d, 10250, 10256 } iifname != { "lo", "%[2]s" } drop
		# Name server, faults: nobody else has business with the bridge's address.
		ip daddr %[5]s iifname != { "lo", "%[2]s" } drop
	}
}
`

// touchedSysctls are machine-wide settings that kubelet changes.
var touchedSysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// run runs a command and returns its output; its errors carry what it said.
func run(stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running %s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err,
			strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// bridgeOwner is the directory of the lab that made the bridge; "" without one.
func bridgeOwner() string {
	alias, err := os.ReadFile(filepath.Join("/sys/class/net", Bridge, "ifalias"))
	if err != nil {
		return ""
	}
	if owner := strings.TrimSpace(string(alias)); owner != "" {
		return owner
	}
	return "(unknown)"
}

// prepareHost makes bridge, routes, firewall table and cgroups. It may be run
// again at any time.
func (e *Env) prepareHost() error {
	if err := e.saveSysctls(); err != nil {
		return err
	}
	if bridgeOwner() == "" {
		// Address and owner go on in one batch: no bridge is left without an owner.
		batch := fmt.Sprintf("link add name %[1]s type bridge\nlink set dev %[1]s alias %[2]s\n", Bridge, e.Dir)
		if _, err := run(batch, "ip", "-batch", "-"); err != nil {
			return fmt.Errorf("making the bridge: %w", err)
		}
	}
	for _, args := range [][]string{
		{"addr", "replace", BridgeIP + "/16", "dev", Bridge},
		{"link", "set", "dev", Bridge, "up"},
		// The host's own calls to Services leave by the bridge when kube-proxy has
		// not redirected them; the blackhole is there when the bridge is not.
		{"route", "replace", ServiceCIDR, "dev", Bridge, "src", BridgeIP},
		{"route", "replace", "blackhole", ServiceCIDR, "metric", "4096"},
		{"route", "replace", "blackhole", PodCIDR, "metric", "4096"},
	} {
		if _, err := run("", "ip", args...); err != nil {
			return fmt.Errorf("setting up the bridge: %w", err)
		}
	}
	// Of this interface only: the machine as a whole does not become a router.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+Bridge+"/forwarding", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("letting pods reach Services: %w", err)
	}
	if _, err := run(fmt.Sprintf(nftRules, nftTable, Bridge, ServiceCIDR, apiPort, BridgeIP), "nft", "-f", "-"); err != nil {
		return fmt.Errorf("fencing the lab in: %w", err)
	}
	return e.makeCgroups()
}

// saveSysctls keeps what kubelet is about to change, for `down`.
func (e *Env) saveSysctls() error {
	file := e.path("sysctls.json")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	saved := map[string]string{}
	for _, name := range touchedSysctls {
		if value, err := os.ReadFile("/proc/sys/" + name); err == nil {
			saved[name] = strings.TrimSpace(string(value))
		}
	}
	return writeJSON(file, saved)
}

// restoreSysctls undoes kubelet's changes.
func (e *Env) restoreSysctls() error {
	data, err := os.ReadFile(e.path("sysctls.json"))
	if os.IsNotExist(err) {
		return nil
	}
	saved := map[string]string{}
	if err == nil {
		err = json.Unmarshal(data, &saved)
	}
	if err != nil {
		return fmt.Errorf("reading the saved kernel settings: %w", err)
	}
	for name, value := range saved {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("restoring kernel setting %s: %w", name, err)
		}
	}
	return nil
}

// cgroupHierarchies lists the mounted cgroup hierarchies, of either version.
func cgroupHierarchies() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("listing the cgroup hierarchies: %w", err)
	}
	var dirs []string
	for line := range strings.SplitSeq(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 2 && (f[2] == "cgroup" || f[2] == "cgroup2") {
			dirs = append(dirs, f[1])
		}
	}
	return dirs, nil
}

// makeCgroups makes the cgroup that all pods live under, so that `down` finds
// every process of theirs whatever happened to containerd.
func (e *Env) makeCgroups() error {
	dirs, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		root := filepath.Join(dir, CgroupRoot)
		if err := os.MkdirAll(root, 0o755); err != nil {
			return fmt.Errorf("making cgroup %s: %w", root, err)
		}
		// A version 1 cpuset is of no use until it names CPUs and memory.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(root, file), value, 0o644); err != nil {
				return fmt.Errorf("filling in cgroup %s: %w", root, err)
			}
		}
		// A version 2 cgroup hands down only the controllers that are named.
		controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			continue
		}
		for _, cg := range []string{dir, root} {
			for c := range strings.FieldsSeq(string(controllers)) {
				if err := os.WriteFile(filepath.Join(cg, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
					return fmt.Errorf("enabling controller %s in %s: %w", c, cg, err)
				}
			}
		}
	}
	return nil
}

// portsFree says which process-wide ports the lab needs and somebody has.
func (e *Env) portsFree() error {
	p := e.ports
	needed := []int{p.api, p.etcd, p.etcdPeer, p.faults, p.controllerManager, p.scheduler, p.certManager, p.provisioner}
	if e.sim() {
		needed = append(needed, p.kubelet)
	} else {
		needed = append(needed, 10248, 10249, 10250, 10256)
	}
	var taken []string
	for _, port := range needed {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			taken = append(taken, fmt.Sprint(port))
			continue
		}
		_ = l.Close()
	}
	if len(taken) > 0 {
		return fmt.Errorf("the lab needs TCP port(s) %s, which something else on this machine uses", strings.Join(taken, ", "))
	}
	return nil
}

// lock makes sure that one lab command of a tier runs on this machine at a time. An
// abstract socket goes with the process that holds it: nothing can be left.
func (e *Env) lock() (func(), error) {
	name := "@seictl-lab"
	if e.sim() {
		name = "@seictl-sim"
	}
	for said := false; ; said = true {
		l, err := net.Listen("unix", name)
		if err == nil {
			return func() { _ = l.Close() }, nil
		}
		if !said {
			e.say("waiting for another lab command to end")
		}
		// The connection ends when the holder does.
		c, err := net.DialTimeout("unix", name, 5*time.Second)
		if err != nil {
			continue
		}
		_, _ = c.Read(make([]byte, 1))
		_ = c.Close()
	}
}
