package explain

// Code names a cause, for programs.
type Code string

// Causes.
const (
	// CodeTerminating: the node is being deleted.
	CodeTerminating Code = "Terminating"
	// CodeForeignController: another live controller writes the node.
	CodeForeignController Code = "ForeignController"
	// CodeHeld: a plan failed for good and is not tried again by itself.
	CodeHeld Code = "Held"
	// CodePaused: spec.paused is true.
	CodePaused Code = "Paused"
	// CodeBudgetWait: the chain's budget has no slot left.
	CodeBudgetWait Code = "BudgetWait"
	// CodeLockWait: another driver holds the lock.
	CodeLockWait Code = "LockWait"
	// CodeNoDriver: nobody drives.
	CodeNoDriver Code = "NoDriver"
	// CodeBlocked: a gate does not hold.
	CodeBlocked Code = "Blocked"
	// CodeRetryWait: the last attempt failed, and the next one is not due yet.
	CodeRetryWait Code = "RetryWait"
	// CodeTaskWait: a task waits, in its own words.
	CodeTaskWait Code = "TaskWait"

	// CodeCertManagerMissing: the cluster does not know cert-manager's kinds.
	CodeCertManagerMissing Code = "CertManagerMissing"
	// CodeRequestDenied: the request for a certificate was denied.
	CodeRequestDenied Code = "RequestDenied"
	// CodeRequestFailed: the request was refused as invalid, or failed.
	CodeRequestFailed Code = "RequestFailed"
	// CodeApproverIdle: nobody approves or denies the request.
	CodeApproverIdle Code = "ApproverIdle"
	// CodeIssuerMissing: there is no such issuer.
	CodeIssuerMissing Code = "IssuerMissing"
	// CodeIssuerWrongKind: an issuer of that name is of the other kind.
	CodeIssuerWrongKind Code = "IssuerWrongKind"
	// CodeIssuerNotReady: cert-manager cannot use the issuer.
	CodeIssuerNotReady Code = "IssuerNotReady"
	// CodeCASecretMissing: the Secret with the CA of the issuer is missing.
	CodeCASecretMissing Code = "CASecretMissing"
	// CodeCertificateNotReady: the Certificate is not issued, for a reason that only its own words tell.
	CodeCertificateNotReady Code = "CertificateNotReady"

	// CodeSecretNotFound: the TLS Secret is missing.
	CodeSecretNotFound Code = "SecretNotFound"
	// CodeSecretSANsMismatch: its certificate lacks a required name.
	CodeSecretSANsMismatch Code = "SecretSANsMismatch"
	// CodeSecretUnsound: it is unsound in another way; the message has the reason.
	CodeSecretUnsound Code = "SecretUnsound"

	// CodePodTerminating: the old pod does not go.
	CodePodTerminating Code = "PodTerminating"
	// CodePodUnschedulable: no machine takes the pod.
	CodePodUnschedulable Code = "PodUnschedulable"
	// CodeImageUnpullable: an image cannot be pulled.
	CodeImageUnpullable Code = "ImageUnpullable"
	// CodeContainerCannotStart: a container cannot be created or started.
	CodeContainerCannotStart Code = "ContainerCannotStart"
	// CodeMountFailed: a volume cannot be mounted.
	CodeMountFailed Code = "MountFailed"

	// CodeProxyCrashLoop, CodeSidecarCrashLoop, CodeSeidCrashLoop and CodeInitCrashLoop: a container keeps failing.
	CodeProxyCrashLoop   Code = "ProxyCrashLoop"
	CodeSidecarCrashLoop Code = "SidecarCrashLoop"
	CodeSeidCrashLoop    Code = "SeidCrashLoop"
	CodeInitCrashLoop    Code = "InitCrashLoop"
	// CodeProxyNotTLS: the proxy's port answers without TLS.
	CodeProxyNotTLS Code = "ProxyNotTLS"
	// CodeProxyOtherLeaf: the proxy serves another certificate than the Secret's.
	CodeProxyOtherLeaf Code = "ProxyOtherLeaf"
	// CodeProxyUnreachable: the handshake fails.
	CodeProxyUnreachable Code = "ProxyUnreachable"
	// CodeProxyUnauthorized: an authenticated call gets a 401.
	CodeProxyUnauthorized Code = "ProxyUnauthorized"
	// CodeProxyForbidden: an authenticated call gets a 403.
	CodeProxyForbidden Code = "ProxyForbidden"
	// CodeSidecarNotReady: the sidecar answers 503.
	CodeSidecarNotReady Code = "SidecarNotReady"
	// CodeSidecarUnreachable: the sidecar does not answer.
	CodeSidecarUnreachable Code = "SidecarUnreachable"
	// CodeSeidCatchingUp: seid has not caught up with its chain.
	CodeSeidCatchingUp Code = "SeidCatchingUp"
	// CodeSeidNotAnswering: seid does not answer on its RPC port.
	CodeSeidNotAnswering Code = "SeidNotAnswering"
)
