// Package explain says in plain words what a node runs, what it should run, what it waits for and why, and what to do next.
// Facts are gathered once, by whoever calls; the explanation is a pure function of them.
//
// The chain that a node hangs on is walked link by link: Certificate, CertificateRequest, issuer, its CA Secret, Secret, pod,
// proxy, sidecar, seid. Each link says how it is; rules, in an order that a test pins, name the one thing that decides.
//
// Invariants, and the test that guards each:
//
//   - Every cause is found in facts as a cluster shows them: TestCauses.
//   - The order of the rules: TestRuleOrder.
//   - A node that runs what it should has no cause: TestAllIsWell.
//   - What was not read is never called broken: TestUnreadIsUnknown.
package explain
