package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// askAgain is how often a real process is asked whether it is ready: nothing tells.
	askAgain = 500 * time.Millisecond
	// tokenTime is how long a process may act as the pod's ServiceAccount: longer than any lab is up for a test.
	tokenTime = 24 * time.Hour
)

// seictl is the operator's image: the one program here that is a process, of the binary under test. It listens on the
// pod's address, reads mounted files from a directory, and is the pod's ServiceAccount.
func (s *Simulator) seictl(ctx context.Context, r *run) error {
	dir, err := os.MkdirTemp("", "labsim-")
	if err != nil {
		return fmt.Errorf("making the container's directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := s.writeKubeconfig(ctx, r, filepath.Join(dir, "kubeconfig")); err != nil {
		return err
	}
	args := slices.Clone(r.spec.Args)
	for _, m := range r.spec.VolumeMounts {
		mounted := filepath.Join(dir, m.Name)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], m.MountPath, mounted)
		}
		if err := r.write(m.Name, mounted); err != nil {
			return err
		}
	}
	if len(args) > 1 && args[0] == "operator" && args[1] == "run" {
		args = append(args, "--metrics-bind-address="+r.net.ip+":8443", "--health-probe-bind-address="+r.net.ip+":8081")
	}
	cmd := exec.Command(s.binary, args...)
	cmd.Env = []string{"KUBECONFIG=" + filepath.Join(dir, "kubeconfig"), "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	for _, v := range r.spec.Env {
		cmd.Env = append(cmd.Env, v.Name+"="+r.env(v.Name))
	}
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "SEICTL_LAB_OWNED=") { // `lab down` finds it by this
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return r.wait(ctx, cmd, dir)
}

// wait runs a process to its end, and has its probes asked meanwhile.
func (r *run) wait(ctx context.Context, cmd *exec.Cmd, dir string) error {
	// The kernel ends the process with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", r.spec.Image, err)
	}
	for _, p := range r.spec.Ports {
		port := r.net.announce(int(p.ContainerPort), overHTTP)
		defer func() { _ = port.Close() }()
	}
	ended := make(chan struct{})
	go r.attend(ctx, cmd.Process, dir, ended)
	err := cmd.Wait()
	close(ended)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitError(max(exit.ExitCode(), 1))
	}
	return err
}

// attend passes signals on, keeps the mounted files up to date and has the probes asked, until the process has ended.
func (r *run) attend(ctx context.Context, p *os.Process, dir string, ended <-chan struct{}) {
	ticker := time.NewTicker(askAgain)
	defer ticker.Stop()
	term, killed := ctx.Done(), r.killed
	for {
		select {
		case <-ended:
			return
		case <-term:
			term = nil
			_ = p.Signal(syscall.SIGTERM) // gone: fine
		case <-killed:
			killed = nil
			_ = p.Kill() // gone: fine
		case <-ticker.C:
			for _, m := range r.spec.VolumeMounts {
				_ = r.write(m.Name, filepath.Join(dir, m.Name)) // tried again soon
			}
			r.pod.change()
		}
	}
}

// write writes the files of a volume to a directory, those that changed.
func (r *run) write(volume, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making a mount: %w", err)
	}
	v := r.volumes[volume]
	if v == nil || v.files.Load() == nil {
		return nil
	}
	for name, content := range *v.files.Load() {
		path := filepath.Join(dir, filepath.Base(name))
		if had, err := os.ReadFile(path); err == nil && string(had) == string(content) {
			continue
		}
		if err := os.WriteFile(path+".next", content, 0o600); err != nil {
			return fmt.Errorf("writing a mounted file: %w", err)
		}
		if err := os.Rename(path+".next", path); err != nil {
			return fmt.Errorf("writing a mounted file: %w", err)
		}
	}
	return nil
}

// writeKubeconfig writes the way to the API server as the pod's ServiceAccount.
func (s *Simulator) writeKubeconfig(ctx context.Context, r *run, path string) error {
	pod := r.pod.obj
	seconds := int64(tokenTime / time.Second)
	token, err := s.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: &seconds,
			BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
		}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("requesting a token: %w", err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["lab"] = &clientcmdapi.Cluster{Server: s.config.Host, CertificateAuthorityData: s.config.CAData}
	config.AuthInfos["pod"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "pod", Namespace: pod.Namespace}
	config.CurrentContext = "lab"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return nil
}

// field is what a variable of the downward API says.
func (r *run) field(source *corev1.EnvVarSource) string {
	if source.FieldRef == nil {
		return ""
	}
	switch source.FieldRef.FieldPath {
	case "metadata.name":
		return r.pod.obj.Name
	case "metadata.namespace":
		return r.pod.obj.Namespace
	case "metadata.uid":
		return string(r.pod.obj.UID)
	case "status.podIP":
		return r.net.ip
	}
	return ""
}

// overHTTP makes a probe's request for real.
func overHTTP(req *http.Request) (*httptest.ResponseRecorder, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer := httptest.NewRecorder()
	answer.WriteHeader(resp.StatusCode)
	_, err = io.Copy(answer, io.LimitReader(resp.Body, 1<<16))
	return answer, err
}
