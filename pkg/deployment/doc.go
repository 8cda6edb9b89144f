// Package deployment decides what a SeiNodeDeployment does to its children: which to create, to edit, to delete, and what its
// status says. It is pure: no clients, and the time is an argument.
//
// Invariants, and the test that guards each:
//
//   - No more than maxUnavailable children are unsettled by an edit of the template: TestRolloutNeverExceedsMaxUnavailable.
//   - An unsettled child gets a new template first and takes no new slot: TestUnsettledChildGetsTheFix.
//   - A paused child is skipped and reported: TestPausedChildIsSkipped.
//   - A child from which a rollout withholds the template keeps its spec, and only such a child: TestWithheld.
//   - Of the template's annotations an existing child gets only the consent, and only with a removal of running TLS:
//     TestConsentOnlyWithRemoval.
//   - A scale-down deletes the highest ordinals and nothing but SeiNodes: TestScale.
package deployment
