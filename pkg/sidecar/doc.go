// Package sidecar talks to sei-sidecar: plain HTTP on the sidecar's own port, or HTTPS through kube-rbac-proxy in front
// of it. Which of the two is the caller's knowledge (status.currentSidecarTLS), never a guess made here.
//
// Trust: a peer is trusted because its certificate chains to what the caller gave, the leaf, the CAs or a fingerprint, for
// the required name and now. The system's roots are never consulted and verification is never switched off. A token is
// sent only on a connection whose certificate verified, so never over plain HTTP.
package sidecar
