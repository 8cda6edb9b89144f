package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Down removes the lab and everything it left on the machine, whatever state
// it is in. The build cache stays.
func Down(e *Env) error {
	unlock, err := e.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := e.claim(); err != nil {
		return err
	}
	if e.sim() {
		return e.downSim()
	}
	if owner := bridgeOwner(); owner != "" && owner != e.Dir && owner != "(unknown)" {
		return fmt.Errorf("the lab on this machine lives in %s: run this with SEICTL_LAB_DIR=%s", owner, owner)
	}
	start := time.Now()
	// Every part is tried, whatever the others say: what can go, goes.
	err = errors.Join(
		e.step("processes", e.killAll),
		e.step("mounts", e.unmountAll),
		e.step("network", e.removeNetwork),
		e.step("cgroups", removeCgroups),
		e.restoreSysctls(),
	)
	// The directory goes last: it tells a second `down` what is left, and with a
	// mount in it, removing it would remove what is mounted.
	if err == nil {
		err = e.step("files", e.removeFiles)
	}
	if err != nil {
		return fmt.Errorf("removing the lab: %w", err)
	}
	e.say("down after %.1fs", time.Since(start).Seconds())
	return nil
}

// downSim removes a lab without pods' processes: it has nothing outside of its directory.
func (e *Env) downSim() error {
	start := time.Now()
	err := e.step("processes", e.killAll)
	if err == nil {
		err = e.step("files", func() error { return os.RemoveAll(e.Dir) })
	}
	if err != nil {
		return fmt.Errorf("removing the lab: %w", err)
	}
	e.say("down after %.1fs", time.Since(start).Seconds())
	return nil
}

// killAll ends the components, then the pods' processes, until none is left:
// what is being started while we look is found in the next round.
func (e *Env) killAll() error {
	for round := 0; ; round++ {
		pids := e.owned()
		if !e.sim() {
			pods, err := podPIDs()
			if err != nil {
				return err
			}
			pids = append(pids, pods...)
		}
		if len(pids) == 0 {
			return nil
		}
		if round > 20 {
			return fmt.Errorf("processes %v do not go away", pids)
		}
		// All are signalled before any is waited for: a supervisor that outlived
		// its child for a moment would start another.
		starts := map[int]string{}
		for _, pid := range pids {
			starts[pid] = startTime(pid)
			signalOne(pid, starts[pid])
		}
		for _, pid := range pids {
			if err := kill(pid, starts[pid]); err != nil {
				return err
			}
		}
	}
}

// signalOne sends SIGKILL without waiting.
func signalOne(pid int, start string) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // gone
	}
	defer func() { _ = unix.Close(fd) }()
	if start != "" && startTime(pid) == start {
		_ = unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0) // gone: fine
	}
}

// podPIDs lists the living processes in the lab's cgroups.
func podPIDs() ([]int, error) {
	roots, err := cgroupHierarchies()
	if err != nil {
		return nil, err
	}
	found := map[int]bool{}
	for _, root := range roots {
		_ = filepath.WalkDir(filepath.Join(root, CgroupRoot), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() != "cgroup.procs" {
				return nil //nolint:nilerr // a cgroup that went away meanwhile holds no process
			}
			data, _ := os.ReadFile(path)
			for field := range strings.FieldsSeq(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 && startTime(pid) != "" {
					found[pid] = true
				}
			}
			return nil
		})
	}
	pids := make([]int, 0, len(found))
	for pid := range found {
		pids = append(pids, pid)
	}
	return pids, nil
}

// unmountAll unmounts everything under the lab's directory, innermost first.
func (e *Env) unmountAll() error {
	for range 20 {
		data, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return fmt.Errorf("listing the mounts: %w", err)
		}
		var points []string
		for line := range strings.SplitSeq(string(data), "\n") {
			if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(unescape(f[4]), e.Dir+"/") {
				points = append(points, unescape(f[4]))
			}
		}
		if len(points) == 0 {
			return nil
		}
		for _, point := range slices.Backward(points) {
			if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("unmounting %s: %w", point, err)
			}
		}
	}
	return errors.New("mounts keep appearing under " + e.Dir)
}

// unescape undoes the octal escapes of /proc/self/mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// removeNetwork removes links, routes and firewall tables.
func (e *Env) removeNetwork() error {
	return errors.Join(removeLinks(), removeRoutes(), e.removeTables())
}

// removeLinks removes the pods' links and the bridge they hang on.
func removeLinks() error {
	links, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return fmt.Errorf("listing the network links: %w", err)
	}
	for _, link := range links {
		master, err := os.Readlink(filepath.Join("/sys/class/net", link.Name(), "master"))
		if err != nil || filepath.Base(master) != Bridge {
			continue
		}
		// It may be gone already: it goes with its pod's namespace.
		_, err = run("", "ip", "link", "del", "dev", link.Name())
		if _, gone := os.Stat(filepath.Join("/sys/class/net", link.Name())); err != nil && gone == nil {
			return err
		}
	}
	if bridgeOwner() == "" {
		return nil
	}
	_, err = run("", "ip", "link", "del", "dev", Bridge)
	return err
}

// removeRoutes removes the routes that do not go with the bridge.
func removeRoutes() error {
	for _, cidr := range []string{ServiceCIDR, PodCIDR} {
		out, err := run("", "ip", "route", "show", "type", "blackhole", cidr)
		if err != nil {
			return err
		}
		if strings.TrimSpace(out) == "" {
			continue
		}
		if _, err := run("", "ip", "route", "del", "blackhole", cidr, "metric", "4096"); err != nil {
			return err
		}
	}
	return nil
}

// removeTables removes the lab's firewall table and those of its kube-proxy,
// which stay when it stops. Without a lab, a kube-proxy is somebody else's.
func (e *Env) removeTables() error {
	tables, err := run("", "nft", "list", "tables")
	if err != nil {
		return err
	}
	for line := range strings.Lines(tables) {
		f := strings.Fields(line) // table inet NAME
		if len(f) < 3 {
			continue
		}
		if f[2] == nftTable || f[2] == "kube-proxy" && e.exists() {
			if _, err := run("", "nft", "delete", "table", f[1], f[2]); err != nil {
				return err
			}
		}
	}
	return nil
}

// exists says whether the lab's directory is there.
func (e *Env) exists() bool {
	_, err := os.Stat(e.Dir)
	return err == nil
}

// removeCgroups removes the lab's cgroups, innermost first.
func removeCgroups() error {
	roots, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(root, CgroupRoot), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			if err := removeCgroup(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeCgroup removes one cgroup. The kernel calls it busy for a moment after
// its last process was reaped, and nothing tells when that is over.
func removeCgroup(dir string) error {
	for deadline := time.Now().Add(5 * time.Second); ; <-time.After(5 * time.Millisecond) {
		err := os.Remove(dir)
		if err == nil || os.IsNotExist(err) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("removing cgroup: %w", err)
		}
	}
}

// removeFiles removes the lab's directory and what its programs insist on
// keeping elsewhere.
func (e *Env) removeFiles() error {
	// Shims listen where containerd's source says; each bundle names its socket.
	addresses, _ := filepath.Glob(e.path("containerd", "state", "io.containerd.runtime.v2.task", "*", "*", "address"))
	for _, file := range addresses {
		if data, err := os.ReadFile(file); err == nil {
			if socket := strings.TrimPrefix(strings.TrimSpace(string(data)), "unix://"); filepath.Dir(socket) == "/run/containerd/s" {
				_ = os.Remove(socket) // gone: fine
			}
		}
	}
	results, _ := filepath.Glob("/var/lib/cni/results/" + cniNetwork + "-*")
	loopback, _ := filepath.Glob("/var/lib/cni/results/cni-loopback-*")
	for _, file := range append(results, e.ours(loopback)...) {
		_ = os.Remove(file)
	}
	logs, _ := filepath.Glob("/var/log/containers/*.log")
	for _, link := range logs {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, e.Dir+"/") {
			_ = os.Remove(link)
		}
	}
	const devices = "/var/lib/kubelet/device-plugins/kubelet.sock"
	if c, err := net.Dial("unix", devices); err == nil {
		_ = c.Close() // another kubelet's
	} else {
		_ = os.Remove(devices)
	}
	// Only empty ones go: another containerd or kubelet may live here, too.
	for _, dir := range []string{
		"/run/containerd/s", "/run/containerd", "/var/lib/cni/results", "/var/lib/cni", "/var/log/containers",
		"/var/lib/kubelet/device-plugins", "/var/lib/kubelet", "/run/mount",
	} {
		_ = os.Remove(dir)
	}
	if err := os.RemoveAll(e.Dir); err != nil {
		return fmt.Errorf("removing %s: %w", e.Dir, err)
	}
	return nil
}

// ours picks the files that name the lab's directory.
func (e *Env) ours(files []string) []string {
	return slices.DeleteFunc(files, func(file string) bool {
		data, err := os.ReadFile(file)
		return err != nil || !strings.Contains(string(data), e.Dir+"/")
	})
}
