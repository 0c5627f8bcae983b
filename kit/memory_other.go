//go:build !linux

package kit

import "runtime/debug"

// settle gives back the garbage that starting left.
func settle() { debug.FreeOSMemory() }
