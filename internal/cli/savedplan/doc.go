// Package savedplan is the file that `seictl node plan --out` writes and `seictl node apply FILE` applies: what was
// previewed, the edit that leads to it, and everything of the node that the preview was computed from. It is pure: whoever
// calls it reads the node and the files.
//
// Invariants, and the test that guards each:
//
//   - A file of another version, or one that was cut or edited, is refused in one clear sentence: TestDecodeRefuses.
//   - Reading a file never panics, whatever is in it: FuzzDecode.
//   - What happens to every node all the time (conditions, times, the plan that ended last) does not make a plan stale:
//     TestChurnDoesNotInvalidate.
//   - A change of anything that the plan was computed from is named with both values and its field manager: TestStale.
package savedplan
