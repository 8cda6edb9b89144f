// Package drift says how what a node should run differs from what it was observed to run. It is pure: functions of a
// SeiNode and a snapshot, with the time as an argument.
//
// Invariants, and the test that guards each:
//
//   - The checks run in a fixed order and every one is evaluated: TestChainOrder.
//   - TLS drifts exactly when the normalised configurations differ; a spec without TLS never drifts by itself:
//     TestSidecarTLSMatrix.
//   - Running TLS is only ever a target of removal with consent: TestTargetRemoval.
//   - Objects are judged against what runs, never against the spec: TestObjectsFollowCurrent.
//   - A template that differs for another reason is reported and causes no plan: TestPodTemplateFindings.
//   - A node without drift costs no allocation: BenchmarkNoDrift.
package drift
