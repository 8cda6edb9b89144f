// Package sim plays the kubelets of a few nodes in one process: pods without containers, thousands of them.
//
// A pod has an address of its own in 127.0.0.0/8, on which its ports are really open or closed; behind them run the
// stand-ins, with real TLS, real reviews of callers, and files on the pod's real volume. It starts and stops as a kubelet
// would have it: mounts that have to be there, init containers in order, native sidecars, probes, restarts with back-off,
// the grace period. Nothing polls: what changes in a pod wakes its one goroutine.
//
// What is not there: processes, and with them exec and logs; the scripts of the pod template, whose work is done in Go;
// seid's ports other than the RPC.
package sim
