package preflight

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

// clusterCheck is one check of a cluster; it may say one line for each thing that it looks at.
type clusterCheck struct {
	category, name string
	// pre says that it makes sense before anything is installed.
	pre bool
	run func(*ClusterFacts) []Line
}

// clusterChecks in the order in which they are told.
var clusterChecks = []clusterCheck{
	{CategoryCluster, "api-server", true, one(checkVersion)},
	{CategoryCluster, "storage-class", true, one(checkStorageClass)},
	{CategoryCertManager, "cert-manager-installed", true, one(func(f *ClusterFacts) Line { return checkCertManagerInstalled(&f.CertManager) })},
	{CategoryCertManager, "cert-manager-serving", true, one(func(f *ClusterFacts) Line { return checkCertManagerServing(&f.CertManager) })},
	{CategoryIssuers, "issuer", false, checkChainIssuers},
	{CategoryCRDs, "seinode-fields", false, one(func(f *ClusterFacts) Line { return checkFields(f.Schemas, "SeiNode") })},
	{CategoryCRDs, "seinodedeployment-fields", false, one(func(f *ClusterFacts) Line { return checkFields(f.Schemas, "SeiNodeDeployment") })},
	{CategorySettings, "settings", false, one(checkPlatformSettings)},
	{CategorySettings, "node-service-account", false, checkAccounts},
	{CategoryRBAC, "install-rights", true, one(checkInstallRights)},
	{CategoryRBAC, "client-account", false, one(func(f *ClusterFacts) Line { return checkClient(f.Client) })},
	{CategoryRBAC, "client-access", false, checkClientAccesses},
	{CategoryRBAC, "node-token-review", false, checkNodeReviews},
	{CategoryOperator, "operator", false, one(func(f *ClusterFacts) Line { return checkOperator(f.Operator, applies) })},
	{CategoryImages, "images-set", false, one(checkImagesSet)},
	{CategoryImages, "images-pulled", false, checkPulls},
	{CategoryNodes, "nodes-updated", false, checkNodesUpdated},
	{CategoryNodes, "nodes-tls-secret", false, checkNodeSecrets},
	{CategoryNodes, "nodes-mark-ready", false, checkMarkReady},
	{CategoryMonitoring, "alerts", false, one(func(f *ClusterFacts) Line { return checkMonitored(&f.Monitoring, "PrometheusRule") })},
	{CategoryMonitoring, "scraping", false, one(func(f *ClusterFacts) Line { return checkMonitored(&f.Monitoring, "PodMonitor") })},
	{CategoryMonitoring, "metrics-certificate", false, one(checkMetricsCertificate)},
}

// CheckCluster runs every check over the facts.
func CheckCluster(f *ClusterFacts) []Line {
	var out []Line
	for _, c := range clusterChecks {
		if f.Pre && !c.pre || !f.Pre && c.name == "install-rights" {
			continue
		}
		for _, l := range c.run(f) {
			l.Category, l.Check = c.category, c.name
			out = append(out, l)
		}
	}
	return out
}

func one(check func(*ClusterFacts) Line) func(*ClusterFacts) []Line {
	return func(f *ClusterFacts) []Line { return []Line{check(f)} }
}

// allOr is one line that says that all is well, unless there are lines that say otherwise.
func allOr(bad []Line, well string) []Line {
	if len(bad) == 0 {
		return []Line{ok(well)}
	}
	return bad
}

// leastMinor is the Kubernetes version that native sidecars and their probes need.
const leastMinor = 29

func checkVersion(f *ClusterFacts) Line {
	if f.Version.State != Found {
		return failed("the API server does not answer: "+short(f.Version.Err), "kubectl version")
	}
	v := f.Version.Value
	minor, err := strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	if err == nil && v.Major == "1" && minor < leastMinor {
		return failed(fmt.Sprintf("Kubernetes %s is too old: the pods of nodes need native sidecars, 1.%d or later", v.GitVersion, leastMinor),
			"kubectl version")
	}
	return ok("Kubernetes " + v.GitVersion + " answers")
}

func checkStorageClass(f *ClusterFacts) Line {
	if f.StorageClasses.State != Found {
		return cannotTell("which StorageClasses there are", f.StorageClasses.Err)
	}
	want := f.Settings.Value.Storage.ClassName
	if want != "" {
		if slices.ContainsFunc(f.StorageClasses.Value, func(s storagev1.StorageClass) bool { return s.Name == want }) {
			return ok("StorageClass " + want + " exists")
		}
		return failed(fmt.Sprintf("StorageClass %s, which the settings name, not found: new nodes get no volume", want), editSettings)
	}
	for _, s := range f.StorageClasses.Value {
		if s.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
			return ok("the default StorageClass is " + s.Name)
		}
	}
	return warning("there is no default StorageClass and the settings name none: new nodes get no volume, unless they import one", "kubectl get storageclass")
}

func checkChainIssuers(f *ClusterFacts) []Line {
	var out []Line
	for _, i := range f.Issuers {
		for _, check := range []func(*IssuerFacts) Line{checkIssuerExists, checkIssuerReady, checkIssuerCASecret} {
			l := check(i.IssuerFacts)
			l.Message = "chain " + i.Chain + ": " + l.Message
			// The last check of a sound issuer says that it is Ready; the others only what is wrong.
			if l.Result == Failed || l.Result == Warning || strings.HasSuffix(l.Message, " is Ready") {
				out = append(out, l)
			}
		}
	}
	if len(out) == 0 {
		return []Line{skipped("no chain names an issuer")}
	}
	return out
}

func checkPlatformSettings(f *ClusterFacts) Line {
	where := fmt.Sprintf("ConfigMap %s/%s", settings.Namespace, settings.ConfigMapName)
	switch f.Settings.State {
	case Found:
		return ok(where + " is valid")
	case Absent:
		return warning(where+" not found: the default settings are used", "seictl install base --apply")
	case Broken:
		return failed(short(f.Settings.Err), editSettings)
	}
	return cannotTell("what the settings are", f.Settings.Err)
}

func checkAccounts(f *ClusterFacts) []Line {
	account := f.Settings.Value.NodeServiceAccount
	var bad []Line
	var unseen []string
	for _, ns := range f.Namespaces {
		switch l := accountLine(ns.ServiceAccount, ns.Name, account); l.Result {
		case OK:
		case Failed:
			bad = append(bad, l)
		default:
			unseen = append(unseen, ns.Name)
		}
	}
	if len(unseen) > 0 {
		bad = append(bad, skipped("cannot tell whether ServiceAccount "+account+" exists: you may not look in "+few(unseen)))
	}
	return allOr(bad, fmt.Sprintf("ServiceAccount %s exists in every namespace of nodes", account))
}

func checkInstallRights(f *ClusterFacts) Line {
	lacking, unknown := missing(f.Install)
	switch {
	case len(lacking) > 0:
		who := userOf(f.Me)
		return failed(fmt.Sprintf("you (%s) may not %s", who, strings.Join(sortedValues(lacking), "; ")),
			"kubectl create clusterrolebinding seictl-installer --clusterrole=cluster-admin --user="+who)
	case unknown != nil:
		return cannotTell("what you may do", unknown)
	}
	return ok("you may install seictl")
}

func checkClientAccesses(f *ClusterFacts) []Line {
	var bad []Line
	for _, ns := range f.Namespaces {
		if l := clientAccessLine(ns.ClientAccess, ns.Name); l.Result != OK {
			bad = append(bad, l)
		}
	}
	return allOr(bad, "the client may use the sidecars in every namespace of nodes")
}

func checkNodeReviews(f *ClusterFacts) []Line {
	var bad []Line
	for _, ns := range f.Namespaces {
		if l := reviewLine(ns.Reviews, ns.Name, f.Settings.Value.NodeServiceAccount); l.Result != OK {
			bad = append(bad, l.unless(usesTLS(f, ns.Name)))
		}
	}
	return allOr(bad, "the proxies may review tokens in every namespace of nodes")
}

// usesTLS says whether a node of a namespace has TLS: without it nobody reviews tokens yet.
func usesTLS(f *ClusterFacts, ns string) bool {
	for i := range f.Nodes.Value {
		if n := &f.Nodes.Value[i]; n.Namespace == ns && (n.SidecarTLS() != nil || n.Status.CurrentSidecarTLS != nil) {
			return true
		}
	}
	return false
}

// retiredProxy is where the proxy's image was published once.
const retiredProxy = "gcr.io/kubebuilder/kube-rbac-proxy"

func checkImagesSet(f *ClusterFacts) Line {
	s := f.Settings.Value
	switch {
	case f.Settings.State == Broken:
		return skipped("the settings cannot be read")
	case s.ProxyImage == "":
		return failed("the settings name no proxyImage: no node can turn TLS on", editSettings)
	case strings.HasPrefix(s.ProxyImage, retiredProxy):
		return failed(fmt.Sprintf("proxyImage %s is not published any more: use %s", s.ProxyImage, settings.Default().ProxyImage), editSettings)
	case s.SidecarImage == "":
		return warning("the settings name no sidecarImage: every node has to name one", editSettings)
	}
	return ok(fmt.Sprintf("proxy %s, sidecar %s", s.ProxyImage, s.SidecarImage))
}

// checkPulls: no pod of a node waits for an image.
func checkPulls(f *ClusterFacts) []Line {
	if f.Pods.State != Found {
		return []Line{cannotTell("whether images are pulled", f.Pods.Err)}
	}
	var bad []Line
	for i := range f.Pods.Value {
		pod := &f.Pods.Value[i]
		for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if w := c.State.Waiting; w != nil && slices.Contains([]string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName"}, w.Reason) {
				bad = append(bad, failed(fmt.Sprintf("pod %s/%s: container %s: image %s: %s", pod.Namespace, pod.Name, c.Name, c.Image, w.Reason),
					pullHint(pod, c.Name)))
			}
		}
	}
	return allOr(bad, "no pod of a node waits for an image")
}

func pullHint(pod *corev1.Pod, container string) string {
	node := strings.TrimSuffix(pod.Name, "-0")
	if container == resources.ContainerProxy || container == resources.ContainerSidecar {
		return editSettings
	}
	return fmt.Sprintf("seictl node apply %s -n %s --image IMAGE", node, pod.Namespace)
}

func sortedValues(m map[string]string) []string {
	var out []string
	for _, v := range m {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

func checkMonitored(m *Monitoring, kind string) Line {
	switch {
	case m.Served.State == Absent, m.Served.State == Found && !m.Served.Value[kind]:
		return skipped("the cluster does not know " + kind + ": prometheus-operator is not installed")
	case m.Served.State != Found:
		return cannotTell("whether the cluster knows "+kind, m.Served.Err)
	}
	o := m.Objects[kind]
	switch o.State {
	case Found:
		return ok(kind + " of seictl exists")
	case Absent:
		return warning(kind+" of seictl not found in namespace "+settings.Namespace+": nobody is paged", "seictl install monitoring --apply")
	}
	return cannotTell("whether the "+kind+" of seictl exists", o.Err)
}
