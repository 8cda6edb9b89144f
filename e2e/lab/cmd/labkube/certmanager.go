package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	"github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"         // issuer type
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned" // issuer type
	"golang.org/x/sync/errgroup"
)

// certManagerControllers are what a CA or self-signed issuer needs. ACME,
// ingress-shim and the cloud issuers would only add informers.
var certManagerControllers = []string{
	issuing.ControllerName,
	keymanager.ControllerName,
	readiness.ControllerName,
	requestmanager.ControllerName,
	revisionmanager.ControllerName,
	trigger.ControllerName,
	approver.ControllerName,
	ca.CRControllerName,
	selfsigned.CRControllerName,
	issuers.ControllerName,
	clusterissuers.ControllerName,
}

// certManager runs cert-manager's controllers until it is told to stop.
// cert-manager's own main lives in a Go module that is not published.
func certManager(args []string) int {
	fs := flag.NewFlagSet("cert-manager", flag.ExitOnError)
	kubeconfig := fs.String("kubeconfig", "", "file with the API server and the credential")
	namespace := fs.String("cluster-resource-namespace", "cert-manager", "where ClusterIssuers find their Secrets")
	approve := fs.Bool("approver", true, "approve every CertificateRequest; false leaves them undecided")
	health := fs.String("healthz-address", "127.0.0.1:9403", "where /healthz answers once the controllers run")
	minBackoff := fs.Duration("certificate-request-minimum-backoff-duration", time.Hour, "pause after a failed request")
	_ = fs.Parse(args) // ExitOnError

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	opts := controller.ContextOptions{
		Kubeconfig:         *kubeconfig,
		KubernetesAPIQPS:   200,
		KubernetesAPIBurst: 400,
		IssuerOptions:      controller.IssuerOptions{ClusterResourceNamespace: *namespace},
		CertificateOptions: controller.CertificateOptions{
			CertificateRequestMinimumBackoffDuration: *minBackoff,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	}
	if err := runCertManager(ctx, opts, *approve, *health); err != nil {
		fmt.Fprintln(os.Stderr, "cert-manager:", err)
		return 1
	}
	return 0
}

// runCertManager builds and runs the controllers and the health endpoint.
func runCertManager(ctx context.Context, opts controller.ContextOptions, approve bool, health string) error {
	factory, err := controller.NewContextFactory(ctx, opts)
	if err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range certManagerControllers {
		if name == approver.ControllerName && !approve {
			continue
		}
		build, ok := controller.Known()[name]
		if !ok {
			return fmt.Errorf("no controller is registered as %q", name)
		}
		run, err := build(factory)
		if err != nil {
			return fmt.Errorf("building controller %s: %w", name, err)
		}
		group.Go(func() error {
			if err := run.Run(5, ctx); err != nil {
				return fmt.Errorf("running controller %s: %w", name, err)
			}
			return nil
		})
	}
	shared, err := factory.Build("informers")
	if err != nil {
		return fmt.Errorf("building the shared informers: %w", err)
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	shared.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())

	var synced atomic.Bool
	group.Go(func() error {
		shared.SharedInformerFactory.WaitForCacheSync(ctx.Done())
		synced.Store(true)
		return nil
	})
	group.Go(func() error { return serveHealth(ctx, health, &synced) })
	return group.Wait()
}

// serveHealth answers 200 once the caches are filled, 503 until then.
func serveHealth(ctx context.Context, address string, synced *atomic.Bool) error {
	server := &http.Server{
		Addr:              address,
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if !synced.Load() {
				http.Error(w, "caches are being filled", http.StatusServiceUnavailable)
				return
			}
			_, _ = fmt.Fprintln(w, "ok")
		}),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving /healthz: %w", err)
	}
	return nil
}
