// Command labkube is every Go program of the lab's cluster in one binary, as
// they share most of their code: one link instead of nine.
//
// The program to run is named by the first argument, or by the name that the
// binary is called by (a symbolic link "kubectl", say). `labkube keep PROGRAM`
// starts it again when it ends.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
	_ "time/tzdata" // CronJobs with a time zone

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // version metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"sei.io/seictl/e2e/lab/internal/keep"
)

// programs maps a program's name to its main function, which finds its
// arguments in os.Args as it would in a binary of its own.
var programs = map[string]func() int{
	"etcd": func() int { etcdmain.Main(os.Args); return 0 },
	"kube-apiserver": func() int {
		return cli.Run(apiserver.NewAPIServerCommand())
	},
	"kube-controller-manager": func() int {
		return cli.Run(controllermanager.NewControllerManagerCommand())
	},
	"kube-scheduler": func() int {
		return cli.Run(scheduler.NewSchedulerCommand())
	},
	"kube-proxy": func() int { return cli.Run(proxy.NewProxyCommand()) },
	"kubelet": func() int {
		return cli.Run(kubelet.NewKubeletCommand(context.Background()))
	},
	"kubectl":      func() int { return runKubectl(kubectl.NewDefaultKubectlCommand()) },
	"cert-manager": func() int { return certManager(os.Args[1:]) },
}

// runKubectl runs kubectl with its own way of reporting errors.
func runKubectl(cmd *cobra.Command) int {
	if err := cli.RunNoErrOutput(cmd); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// keepPause is between the end of a program that is kept and its next start.
const keepPause = time.Second

// keepRunning runs the program that the arguments name, again and again.
func keepRunning() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	self, err := os.Executable()
	if err == nil {
		err = keep.Run(ctx, append([]string{self}, os.Args[1:]...), keepPause, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func main() {
	name := filepath.Base(os.Args[0])
	if programs[name] == nil && len(os.Args) > 1 {
		name = os.Args[1]
		os.Args = os.Args[1:]
	}
	run := programs[name]
	if name == "keep" && len(os.Args) > 1 {
		run = keepRunning
	}
	if run == nil {
		fmt.Fprintf(os.Stderr, "usage: labkube PROGRAM [argument…]\nprograms: %v\n",
			slices.Sorted(maps.Keys(programs)))
		os.Exit(2)
	}
	os.Exit(run())
}
