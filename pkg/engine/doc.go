// Package engine runs plans: one pass over one node gathers every read, decides, runs tasks until one has to wait, and writes
// the status at most once.
//
// Invariants, and the test that guards each:
//
//   - A pass ends in at most one status patch, and in none when nothing changed: TestPassPatchesOnce, TestSettledWritesNothing.
//   - A new plan is persisted before its first task runs: TestNewPlanIsPersistedFirst.
//   - mark-ready is recorded as started before it is sent: TestMarkReadyIsRecordedFirst.
//   - What is stamped is the latched target, after its observer passed: TestStampsLatchedTarget.
//   - A failed update is rolled back before the point of no return and held: TestRollbackAndHold.
//   - The consent to a removal is consumed once nothing runs or asks for TLS: TestConsentIsConsumed.
//   - Whatever is edited, fails, crashes or is seen late: no stamp without a matching handshake, no pod deleted while its gate is
//     false or twice by a plan, the previous template after a rollback, and every node settles: TestRandomSequences.
package engine
