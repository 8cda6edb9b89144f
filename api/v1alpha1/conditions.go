package v1alpha1

// Types of condition.
const (
	// ConditionNodeUpdateInProgress is True while a NodeUpdate is under way or queued.
	ConditionNodeUpdateInProgress = "NodeUpdateInProgress"
	// ConditionSidecarTLSSecretReady says whether the TLS Secret of the node is sound. Absent while TLS is neither in
	// the spec nor running.
	ConditionSidecarTLSSecretReady = "SidecarTLSSecretReady"
	// ConditionSidecarReady says whether the sidecar answers 200 on its health path.
	ConditionSidecarReady = "SidecarReady"
	// ConditionReady is the root: the pod is Ready, nothing drifted and the TLS Secret is sound. Of a SeiNodeDeployment:
	// every child runs the template and is Ready.
	ConditionReady = "Ready"
	// ConditionProgressing of a SeiNodeDeployment is True while children are created, edited or removed.
	ConditionProgressing = "Progressing"
)

// Reasons of NodeUpdateInProgress.
const (
	// ReasonUpdateStarted (True): an image update is under way.
	ReasonUpdateStarted = "UpdateStarted"
	// ReasonTLSToggleStarted (True): a change of TLS is under way.
	ReasonTLSToggleStarted = "TLSToggleStarted"
	// ReasonUpdateAndTLSToggleStarted (True): both are under way, in one plan.
	ReasonUpdateAndTLSToggleStarted = "UpdateAndTLSToggleStarted"
	// ReasonUpdateQueued (True): the update waits for a slot of the chain's budget.
	ReasonUpdateQueued = "UpdateQueued"
	// ReasonUpdateComplete (False): the last update is complete.
	ReasonUpdateComplete = "UpdateComplete"
	// ReasonUpdateFailed (False): the last update failed; the message says where and what follows.
	ReasonUpdateFailed = "UpdateFailed"
	// ReasonUpdateBlocked (False): a gate keeps the update from starting.
	ReasonUpdateBlocked = "UpdateBlocked"
	// ReasonRolledBack (False): the update failed and the node was returned to what it ran before.
	ReasonRolledBack = "RolledBack"
	// ReasonSuperseded (False): the spec changed and nothing is left to update.
	ReasonSuperseded = "Superseded"
)

// Reasons of SidecarTLSSecretReady. The False ones are checked in this order and the first that holds is reported.
const (
	// ReasonTLSSecretReady (True): the Secret is sound.
	ReasonTLSSecretReady = "TLSSecretReady"
	// ReasonTLSSecretNotFound (False): there is no such Secret.
	ReasonTLSSecretNotFound = "TLSSecretNotFound"
	// ReasonTLSSecretMalformed (False): wrong type, an empty key, unparsable PEM, or a key that is not the certificate's.
	ReasonTLSSecretMalformed = "TLSSecretMalformed"
	// ReasonTLSSecretExpired (False): the certificate has expired.
	ReasonTLSSecretExpired = "TLSSecretExpired"
	// ReasonTLSSecretNotYetValid (False): the certificate is not valid yet.
	ReasonTLSSecretNotYetValid = "TLSSecretNotYetValid"
	// ReasonTLSSecretIssuerMismatch (False): the Secret was issued by another issuer.
	ReasonTLSSecretIssuerMismatch = "TLSSecretIssuerMismatch"
	// ReasonTLSSecretSANsMismatch (False): the certificate lacks a required DNS name.
	ReasonTLSSecretSANsMismatch = "TLSSecretSANsMismatch"
	// ReasonTLSSecretUnavailable (Unknown): the API server did not let us read the Secret. Never called absence.
	ReasonTLSSecretUnavailable = "TLSSecretUnavailable"
)

// Reasons of SidecarReady, and shared ones.
const (
	// ReasonReady (True): the sidecar answers 200; of Ready: the node is as it should be.
	ReasonReady = "Ready"
	// ReasonNotReady (False): the sidecar answers 503.
	ReasonNotReady = "NotReady"
	// ReasonUnreachable (Unknown): the sidecar does not answer.
	ReasonUnreachable = "Unreachable"
)

// Reasons of Ready=False that are its own; reasons of the decisive condition are used as they are.
const (
	// ReasonPodNotReady: the pod is missing or not Ready.
	ReasonPodNotReady = "PodNotReady"
	// ReasonInitializing: the node is being initialised.
	ReasonInitializing = "Initializing"
	// ReasonInitFailed: initialisation failed for good.
	ReasonInitFailed = "InitFailed"
	// ReasonDrift: the node does not run what its spec says.
	ReasonDrift = "Drift"
	// ReasonPaused: the node drifted and is paused.
	ReasonPaused = "Paused"
	// ReasonRemovalNeedsConsent: TLS was removed from the spec without the annotation that allows it; never a reason for
	// Ready=False, used for events and warnings.
	ReasonRemovalNeedsConsent = "RemovalNeedsConsent"
	// ReasonForeignController: another live controller writes this node.
	ReasonForeignController = "ForeignController"
	// ReasonTerminating: the node is being deleted.
	ReasonTerminating = "Terminating"
)

// Reasons of a SeiNodeDeployment's Ready and Progressing, besides the shared ones.
const (
	// ReasonScaling: children are created or removed.
	ReasonScaling = "Scaling"
	// ReasonRollingOut: the template is on its way to the children.
	ReasonRollingOut = "RollingOut"
	// ReasonRolloutComplete: every child has the template.
	ReasonRolloutComplete = "RolloutComplete"
	// ReasonRolloutBlocked: children wait for one that failed or is not Ready.
	ReasonRolloutBlocked = "RolloutBlocked"
	// ReasonChildFailed: a child failed and is held.
	ReasonChildFailed = "ChildFailed"
	// ReasonChildNotReady: a child is not Ready and nothing is under way.
	ReasonChildNotReady = "ChildNotReady"
	// ReasonRolloutWithheld: a rollout withholds the template from children until their turn comes.
	ReasonRolloutWithheld = "RolloutWithheld"
	// ReasonNameTaken: a SeiNode that is not of the deployment has the name of a child.
	ReasonNameTaken = "NameTaken"
)

// Reasons of events about children of a SeiNodeDeployment.
const (
	// ReasonChildCreated: a child was created.
	ReasonChildCreated = "ChildCreated"
	// ReasonChildAdopted: a SeiNode without an owner became a child.
	ReasonChildAdopted = "ChildAdopted"
	// ReasonTemplatePropagated: a child got the template.
	ReasonTemplatePropagated = "TemplatePropagated"
	// ReasonChildPutBack: a child that was edited got the template again.
	ReasonChildPutBack = "ChildPutBack"
	// ReasonChildDeleted: a child was deleted in a scale-down.
	ReasonChildDeleted = "ChildDeleted"
)

// Annotations.
const (
	// AnnotationAllowTLSRemoval set to "true" consents to the removal of running TLS. It is consumed.
	AnnotationAllowTLSRemoval = "sei.io/allow-sidecar-tls-removal"
	// AnnotationRetryRequestedAt asks for another attempt after a failure; any new value counts.
	AnnotationRetryRequestedAt = "sei.io/retry-requested-at"
	// AnnotationTemplateWithheld on a SeiNodeDeployment lists the ordinals of children, "1,2,4", that do not get its template
	// yet: a rollout over a fleet lets them have it wave by wave.
	AnnotationTemplateWithheld = "sei.io/template-withheld-from"
	// AnnotationProxyConfigHash on the pod template is the hash of the proxy's configuration.
	AnnotationProxyConfigHash = "sei.io/rbac-proxy-config-hash"
)

// Labels.
const (
	// LabelNode is the name of the node, on everything it owns.
	LabelNode = "sei.io/node"
	// LabelChain is the chain of the node, on everything it owns.
	LabelChain = "sei.io/chain"
	// LabelRole is the mode of the node.
	LabelRole = "sei.io/role"
	// LabelDeployment is the name of the SeiNodeDeployment, on its children.
	LabelDeployment = "sei.io/deployment"
)

// Kinds of issuer.
const (
	// IssuerKindClusterIssuer is the default.
	IssuerKindClusterIssuer = "ClusterIssuer"
	// IssuerKindIssuer is an issuer in the namespace of the node.
	IssuerKindIssuer = "Issuer"
)
