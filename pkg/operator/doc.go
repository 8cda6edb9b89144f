// Package operator runs the engine continuously: the reconcilers, their watches and caches, and the manager around them. The
// CLI drives nodes with the same reconciler, see Drive.
package operator
