package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// start starts a process inside the namespace of the cluster, which goes on when this one ends, and remembers it by
// its number.
func (c cluster) start(name, program string, args ...string) error {
	log, err := os.Create(c.path("log", name+".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own
	process := exec.CommandContext(context.Background(), "nsenter", append([]string{"--net=" + namespacePath, program}, args...)...)
	process.Stdout, process.Stderr, process.Dir = log, log, c.state
	process.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := process.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	if err := os.WriteFile(c.path("pid", name), []byte(strconv.Itoa(process.Process.Pid)), 0o644); err != nil {
		return err
	}
	return process.Process.Release()
}

// stop stops the process of a name, and waits until it is gone.
func (c cluster) stop(name string) {
	text, err := os.ReadFile(c.path("pid", name))
	if err != nil {
		return // it was not started
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil || !c.ours(pid) {
		return // its number may be another's by now
	}
	_ = syscall.Kill(pid, syscall.SIGTERM) // it may just have ended by itself
	for range 100 {
		if !c.ours(pid) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// ours tells whether a process belongs to this cluster: all of them have its folder, or that of its programs, in their
// command.
func (c cluster) ours(pid int) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && (strings.Contains(string(text), c.state+"/") || strings.HasPrefix(string(text), c.program("")+"/"))
}

// leftovers are the processes of containers and what watches them, as far as they are still there.
func (c cluster) leftovers() []int {
	found := map[int]bool{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		command, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil {
			continue
		}
		group, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cgroup"))
		if err != nil {
			continue
		}
		shim := strings.Contains(string(command), "containerd-shim") && strings.Contains(string(command), c.state+"/")
		if shim || strings.Contains(string(group), "/"+cgroup+"/") {
			found[pid] = true
		}
	}
	var pids []int
	for pid := range found {
		pids = append(pids, pid)
	}
	return pids
}

// until asks until the answer is yes, or for too long.
func (c cluster) until(ctx context.Context, what string, patience time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s: not within %s", what, patience))
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
