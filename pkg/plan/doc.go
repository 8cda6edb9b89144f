// Package plan turns drift into plans and moves plans forward. It is pure: no clients, no clock, no random numbers; time and
// ids are arguments.
//
// Invariants, and the test that guards each:
//
//   - One plan for all drift found, with at most one pod cycle: TestTransitionTable.
//   - Target and previous are latched when a plan is built: TestPlanIsLatched.
//   - Kind and causes are stored; nothing reads them off the task list: TestClassify.
//   - Before the sidecar accepted mark-ready a failed NodeUpdate is rolled back; after it nothing is: TestFail.
//   - A spec edit supersedes a plan if and only if the target differs, until the observers have passed: TestSupersede.
//   - Once a template was applied the successor inherits previous, and returns to it when that is the new target:
//     TestSupersedeAfterApply.
//   - MarkReady comes before everything and is never paused, held or blocked: TestMarkReadyFirst.
//   - A rollback that failed halfway leaves a node in its cycle: TestOvertakenRollbackLeavesTheNodeHalfway.
//   - Whatever is edited and fails in whatever order: these hold, tasks keep the order of the contract, the same input is the
//     same decision, no drift is no plan, and every plan ends: TestRandomSequences.
//   - A deadline is set when a task starts, never before: TestAdvanceDeadlines.
package plan
