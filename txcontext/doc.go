// Package txcontext runs transaction contexts.
package txcontext
