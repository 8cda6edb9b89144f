// Package faults is how a test tells a stand-in to misbehave: the client of
// the lab's fault registry.
//
// The registry is a small HTTP server of the lab on 10.244.0.1:9900 (for pods)
// and 127.0.0.1:9900 (for tests). It knows nothing of what a kind means: the
// stand-ins define their kinds and the params of each. A fault belongs to one
// container of one pod, named as in the pod spec, and stays until it is
// cleared: also across restarts of the container, of the pod (a successor of
// the same name has the same faults) and of the registry.
//
//	PUT    /faults/{namespace}/{pod}/{container}         {"kind":"…","params":{…}}
//	       the container has exactly this fault now
//	PUT    /faults/{namespace}/{pod}/{container}/{kind}  {"params":{…}}, or no body
//	       the container has this fault too; a fault of that kind is replaced
//	DELETE /faults/{namespace}/{pod}/{container}         no faults there now
//	DELETE /faults/{namespace}/{pod}/{container}/{kind}  not this one
//	DELETE /faults                                       none anywhere
//	GET    /faults/{namespace}/{pod}/{container}         what is set
//	GET    /faults/{namespace}/{pod}/{container}?after=N
//	       the same once the generation is not N, at the latest after 30 s
//	GET    /faults                                       {"ns/pod/container": …}
//	GET    /healthz                                      ok
//
// All but DELETE /faults (204), GET /faults and /healthz answer 200 with the
// container's state:
//
//	{"generation":7,"faults":[{"kind":"tls-hang","params":{"seconds":3}}]}
//
// Faults are ordered by kind; the list is empty, never null. The generation
// belongs to the container, is 0 until something is set there, and grows with
// every PUT and every DELETE that changes something; a generation is never used
// twice, not even after a restart of the registry. Bad requests are answered
// 400 with {"error":"…"}. Params are any JSON object; absent reads as {}.
package faults
