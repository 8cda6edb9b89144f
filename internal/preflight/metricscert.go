package preflight

import (
	"context"
	"fmt"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/pkg/settings"
)

// metricsCertificate is the Certificate of the operator's metrics, as config/metrics-tls has it.
const metricsCertificate = "seictl-operator-metrics"

func (c *Collector) metricsCertificate(ctx context.Context) Read[*cmv1.Certificate] {
	cert := &cmv1.Certificate{}
	return readOf(cert, c.Client.Get(ctx, client.ObjectKey{Namespace: settings.Namespace, Name: metricsCertificate}, cert))
}

// checkMetricsCertificate: Prometheus refuses an operator whose certificate it cannot verify.
func checkMetricsCertificate(f *ClusterFacts) Line {
	const refused = ": Prometheus, which verifies it, cannot scrape the operator"
	cert := f.Monitoring.Certificate
	switch {
	case !f.Operator.installed():
		return skipped("no operator is installed")
	case f.CertManager.Missing.State == Absent:
		return skipped("without cert-manager the certificate of /metrics is nobody's or your own")
	case cert.State == Absent:
		return warning("the certificate of /metrics is self-signed"+refused, "seictl install operator --image IMAGE --apply")
	case cert.State != Found:
		return cannotTell("whether the operator's metrics have a certificate", cert.Err)
	}
	for _, condition := range cert.Value.Status.Conditions {
		if condition.Type == cmv1.CertificateConditionReady && condition.Status == cmmeta.ConditionTrue {
			return ok("the certificate of /metrics is Ready")
		}
	}
	return warning("the certificate of /metrics is not Ready"+refused,
		fmt.Sprintf("kubectl describe certificate %s -n %s", metricsCertificate, settings.Namespace))
}
