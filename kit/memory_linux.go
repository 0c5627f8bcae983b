package kit

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

// settle gives back what only starting needed: garbage, and the pages of the program that were mapped
// for code that does not run again. The kernel keeps those in its cache and maps any that is touched
// again, so nothing but the count of resident pages, which a container's limit is about, changes.
func settle() {
	debug.FreeOSMemory()
	program, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		// 00400000-01254000 r-xp 00000000 fe:00 1234 /usr/local/bin/tienda (proc_pid_maps(5))
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[5] != program || fields[1][1] == 'w' {
			continue // what can be written to is the program's own data
		}
		from, to, _ := strings.Cut(fields[0], "-")
		begin, errBegin := strconv.ParseUint(from, 16, 64)
		end, errEnd := strconv.ParseUint(to, 16, 64)
		if errBegin != nil || errEnd != nil {
			continue
		}
		// A refusal leaves the pages mapped, which is how it was.
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(begin), uintptr(end-begin), syscall.MADV_DONTNEED)
	}
}
