package main

// gate is one safety check of the engine, and how to take it out.
type gate struct {
	name string
	// file has the text find exactly once; replace takes the gate out.
	file, find, replace string
	// scenarios of the end-to-end suite, of which at least one must fail without the gate.
	scenarios []string
}

// gates are the checks that stand between a node and an outage that nobody asked for.
var gates = []gate{
	{
		name: "secret-verdict", file: "pkg/tasks/wait_for_sidecar_tls_secret.go",
		find: "if !verdict.Ready {", replace: "if false {",
		scenarios: []string{"secret-gone-before-the-gate"},
	},
	{
		name: "generation-check", file: "pkg/tasks/workload.go",
		find: "w.sts.Status.ObservedGeneration < max(generation, w.sts.Generation) || ", replace: "generation < 0 || ",
		scenarios: []string{"controller-away"},
	},
	{
		name: "revision-compare", file: "pkg/tasks/replace_pod.go",
		find: "case podRevision(pod) == revision:", replace: `case revision != "":`,
		scenarios: []string{"enable-remove-enable"},
	},
	{
		name: "uid-precondition", file: "pkg/tasks/replace_pod.go",
		find: "env.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})", replace: "env.Client.Delete(ctx, pod)",
		scenarios: []string{"evicted-under-the-delete"},
	},
	{
		name: "handshake", file: "pkg/tasks/observe_sidecar_tls.go",
		find: "	if len(p.DNSNames) == 0 {",
		replace: `	if ctx.Err() == nil {
		notAfter := metav1.NewTime(verdict.NotAfter)
		return Completed(&v1alpha1.TaskOutput{PodUID: string(pod.UID), FingerprintSHA256: verdict.FingerprintSHA256, NotAfter: &notAfter}), nil
	}
	if len(p.DNSNames) == 0 {`,
		scenarios: []string{"proxy-unfit"},
	},
	{
		name: "judgement-before-the-delete", file: "pkg/tasks/replace_pod.go",
		find: "if p.TLSSecret != nil {", replace: "if false {",
		scenarios: []string{"secret-gone-before-the-delete"},
	},
	{
		name: "lease", file: "internal/cli/drive/drive.go",
		find: "lock.Self(lock.KindCLI), lock.Options{}", replace: `lock.Self(lock.KindCLI), lock.Options{Name: fmt.Sprint(lock.Name, "-", d.Now().UnixNano())}`,
		scenarios: []string{"two-drivers"},
	},
	{
		name: "rollback-before-supersede", file: "pkg/plan/resolve.go",
		find: "applied := in.Applied(p)", replace: "applied := in.Applied(p) && p == nil",
		scenarios: []string{"reverted-after-apply"},
	},
}
