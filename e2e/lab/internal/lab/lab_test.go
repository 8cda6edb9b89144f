package lab

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestAProcessIsKilledOnlyIfItIsTheOneThatStarted(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	pid := cmd.Process.Pid
	start := startTime(pid)
	if start == "" {
		t.Fatal("a living process has a start time")
	}
	if err := terminate(pid, start+"0", syscall.SIGKILL, time.Second); err != nil {
		t.Fatal(err)
	}
	if startTime(pid) != start {
		t.Fatal("a process of another start time was killed")
	}
	if err := terminate(pid, start, syscall.SIGTERM, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	<-ended
	if startTime(pid) != "" {
		t.Fatal("the process is still there")
	}
}

func TestTheLabsOwnDirectoryIsRequired(t *testing.T) {
	for dir, ok := range map[string]bool{"/": false, "/var": false, "/var/lib/seictl-lab": true} {
		t.Setenv("SEICTL_LAB_DIR", dir)
		if _, err := NewEnv(); (err == nil) != ok {
			t.Errorf("SEICTL_LAB_DIR=%s: %v", dir, err)
		}
	}
}

func TestAnImagesStampFollowsItsContent(t *testing.T) {
	a, err := images[1].stamp("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := images[1].stamp("/bin/sh")
	b, err := images[2].stamp("/bin/sh")
	if err != nil || a == b || a != again {
		t.Fatalf("seid:v1 %q, again %q, seid:v2 %q, %v", a, again, b, err)
	}
}

func TestOctalEscapesOfMountsAreRead(t *testing.T) {
	if got := unescape(`/a\040b\134c`); got != `/a b\c` {
		t.Fatal(got)
	}
}
