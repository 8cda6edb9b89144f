// Package keep starts a program again when it ends, as the kubelet does for the
// static pods of a control plane: the scheduler, for one, exits when an outage
// of the API server left its cache in disorder.
package keep

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Run keeps a program running, with a pause between its end and its next start,
// until ctx ends. Then the program gets SIGTERM and is waited for. An error
// means that it could not be started.
func Run(ctx context.Context, argv []string, pause time.Duration, output io.Writer) error {
	// The program dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = output, output
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("keeping %s: %w", argv[0], err)
		}
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) }) // it may have ended meanwhile
		err := cmd.Wait()
		stop()
		if ctx.Err() != nil {
			return nil
		}
		_, _ = fmt.Fprintf(output, "keep: %s ended (%v) and is started again\n", argv[0], err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
