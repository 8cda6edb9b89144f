// Package failpoint lets a test kill the process at a named place, to prove that a plan survives it. Without the build tag
// "failpoints" Hit does nothing and costs nothing.
//
// With the tag, SEICTL_FAILPOINT=name kills at the first hit of that name, SEICTL_FAILPOINT=name:N at the N-th. With
// SEICTL_FAILPOINT_STOP set, it stops the process there, until SIGCONT.
package failpoint
