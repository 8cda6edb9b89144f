// Package fleet changes TLS across a fleet: which nodes, through which object, in which waves, behind which gates, and how to
// go back. What a rollout does next is a pure function of its record and of what is observed, Step: whoever runs it again goes
// on where it stopped.
//
// Invariants, and the test that guards each:
//
//   - No more nodes are under way than the width of a wave, and no wave starts before the one before it passed its gates:
//     TestStepNeverExceedsTheWave.
//   - A canary that fails ends the rollout: TestCanaryStopsTheFleet. So do canaries of which none was changed, TestNoCanaryProven,
//     and one that falls ill in the bake, as soon as its gate's time is over: TestBakeWatchesTheCanaries.
//   - What failed beyond --max-failures starts nothing more, and nodes in a pod cycle finish: TestFailureBudget.
//   - A child of a SeiNodeDeployment is changed through the template, and gets it in its wave: TestChildrenGetTheTemplateInTheirWave.
//   - An object that somebody put back is not written again: TestReverted. What is done is held against what is observed before
//     a rollout is complete: TestCompleteLooksAtWhatIsDone.
//   - No child waits for ever for a template that its parent cannot give: TestNoSlotForTheTemplate.
//   - Undo gives each object its own previous value: TestUndo.
package fleet
