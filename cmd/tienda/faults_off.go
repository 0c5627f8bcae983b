//go:build !faults

package main

// faultFlags are the flags of a test build; this is none.
type faultFlags struct{}

func (faultFlags) arm([]string) error { return nil }
