package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// record is a component's pid file. The start time tells the process from a
// later one of the same number.
type record struct {
	PID   int      `json:"pid"`
	Start string   `json:"start"` // boot id and clock ticks since boot
	Argv  []string `json:"argv"`
	Exe   string   `json:"exe"` // size and time of the binary that was started
}

// startTime identifies a living process; "" when there is none.
func startTime(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The command name may hold spaces and parentheses; fields follow its end.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(boot)) + "/" + fields[19]
}

// exeStamp tells one build of a binary from another.
func exeStamp(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d/%d", info.Size(), info.ModTime().UnixNano())
}

// running returns the component's record if its process lives.
func (e *Env) running(name string) (record, bool) {
	var r record
	data, err := os.ReadFile(e.path("run", name+".json"))
	if err != nil || json.Unmarshal(data, &r) != nil {
		return record{}, false
	}
	return r, r.PID > 0 && r.Start != "" && startTime(r.PID) == r.Start
}

// launch starts a component in a session of its own, its output in its log.
// The returned channel says how the process ended, while this one lives.
func (e *Env) launch(c component) (<-chan error, error) {
	// One that was started without a record being written would hold the port.
	for _, pid := range e.owned() {
		if env, argv := procEnv(pid), procArgv(pid); env[componentVar] == c.name && slices.Equal(argv, c.argv) {
			if err := kill(pid, startTime(pid)); err != nil {
				return nil, fmt.Errorf("stopping a stray %s: %w", c.name, err)
			}
		}
	}
	log, err := os.OpenFile(e.path("logs", c.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", c.name, err)
	}
	defer func() { _ = log.Close() }()
	exe, err := exec.LookPath(c.argv[0])
	if err != nil {
		return nil, fmt.Errorf("finding the program of %s: %w", c.name, err)
	}
	cmd := &exec.Cmd{
		Path: exe, Args: c.argv, Dir: e.Dir, Stdout: log, Stderr: log,
		// A small environment: nothing of the caller's (proxies, tokens) gets in.
		Env: append([]string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=" + e.Dir, "TMPDIR=" + e.path("tmp"),
			"SEICTL_LAB_DIR=" + e.Dir, "SEICTL_LAB_CACHE=" + e.Cache,
			ownedVar + "=" + e.Dir, componentVar + "=" + c.name,
			// The components' heaps are small, and the machine's memory is large: a fifth of their time went into collecting.
			"GOGC=400",
		}, c.env...),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	r := record{PID: cmd.Process.Pid, Start: startTime(cmd.Process.Pid), Argv: c.argv, Exe: exeStamp(exe)}
	if err := writeJSON(e.path("run", c.name+".json"), r); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("exit status 0")
		}
		ended <- err
	}()
	return ended, nil
}

// stop ends a component: SIGTERM, and SIGKILL when that takes too long.
func (e *Env) stop(name string, grace time.Duration) error {
	if r, ok := e.running(name); ok {
		if err := terminate(r.PID, r.Start, syscall.SIGTERM, grace); err != nil {
			return fmt.Errorf("stopping %s: %w", name, err)
		}
	}
	if err := os.Remove(e.path("run", name+".json")); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("removing the record of %s: %w", name, err)
	}
	return nil
}

// kill ends the process at once and waits until it is gone.
func kill(pid int, start string) error {
	return terminate(pid, start, syscall.SIGKILL, 10*time.Second)
}

// terminate signals exactly the process that started at start, by a handle
// that cannot come to mean another one, and waits until it is gone.
func terminate(pid int, start string, signal syscall.Signal, grace time.Duration) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if start == "" || startTime(pid) != start {
		return nil // gone; the number may belong to somebody else now
	}
	for {
		if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("sending %s to process %d: %w", signal, pid, err)
		}
		deadline := time.Now().Add(grace)
		for left := grace; left > 0; left = time.Until(deadline) {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(poll, int(left.Milliseconds())+1)
			if n > 0 {
				return nil
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("waiting for process %d: %w", pid, err)
			}
		}
		if signal == syscall.SIGKILL {
			return fmt.Errorf("process %d is still there after SIGKILL and %s", pid, grace)
		}
		signal, grace = syscall.SIGKILL, 10*time.Second
	}
}

// owned lists the living processes that carry the lab's mark.
func (e *Env) owned() []int {
	var pids []int
	entries, _ := os.ReadDir("/proc") // none readable: none found
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if procEnv(pid)[ownedVar] == e.Dir && startTime(pid) != "" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// procEnv is the environment that a process was started with.
func procEnv(pid int) map[string]string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)) // gone: empty
	env := map[string]string{}
	for entry := range strings.SplitSeq(string(data), "\x00") {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

// procArgv is a process's command line.
func procArgv(pid int) []string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // gone: empty
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// writeJSON replaces a file as a whole: a reader never sees half of it.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", filepath.Base(path), err)
	}
	return writeFile(path, data, 0o600)
}

// writeFile replaces a file as a whole, and makes its directory.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the directory of %s: %w", path, err)
	}
	next := path + ".next"
	if err := os.WriteFile(next, data, mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
