package config

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// dashboardKey is the file of the dashboard in its ConfigMap.
const dashboardKey = "seictl.json"

// Monitoring returns alerts, scraping and a dashboard for a cluster that runs prometheus-operator, on top of Operator.
func Monitoring() ([]*unstructured.Unstructured, error) {
	return render("monitoring", nil)
}

// AlertRules returns the alerts as a rule file of Prometheus itself: exactly what the PrometheusRule of Monitoring holds.
func AlertRules() ([]byte, error) {
	rule, err := monitoringObject("PrometheusRule")
	if err != nil {
		return nil, err
	}
	data, err := yaml.Marshal(rule.Object["spec"])
	if err != nil {
		return nil, fmt.Errorf("encoding the rules: %w", err)
	}
	return data, nil
}

// Dashboard returns the Grafana dashboard, as Grafana imports it.
func Dashboard() ([]byte, error) {
	cm, err := monitoringObject("ConfigMap")
	if err != nil {
		return nil, err
	}
	data, found, err := unstructured.NestedString(cm.Object, "data", dashboardKey)
	if err != nil {
		return nil, fmt.Errorf("reading the dashboard: %w", err)
	}
	if !found {
		return nil, fmt.Errorf("the embedded manifests have no dashboard %s", dashboardKey)
	}
	return []byte(strings.TrimSpace(data) + "\n"), nil
}

// monitoringObject is the one object of a kind.
func monitoringObject(kind string) (*unstructured.Unstructured, error) {
	objects, err := Monitoring()
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if o.GetKind() == kind {
			return o, nil
		}
	}
	return nil, fmt.Errorf("the embedded manifests have no %s", kind)
}
