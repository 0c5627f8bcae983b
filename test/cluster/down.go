package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// down takes away whatever there is of the cluster, and may be told so at any time: also when bringing it up failed, or
// when some of it is gone already.
func (c cluster) down(ctx context.Context) error {
	// The kubelet goes first, or it would start again what is stopped.
	for _, name := range []string{"kubelet", "kwok", "proxy", "policies", "controller-manager", "scheduler", "apiserver", "etcd"} {
		c.stop(name)
	}
	end := time.Now().Add(30 * time.Second)
	for {
		pids := c.leftovers()
		if len(pids) == 0 {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes %v do not go away", pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone since
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.stop("containerd")
	if err := unmount(c.state + "/"); err != nil {
		return err
	}
	if _, err := os.Stat(namespacePath); err == nil {
		if err := c.command(ctx, "ip", "netns", "delete", namespace); err != nil {
			return err
		}
	}
	if _, err := os.Stat("/sys/class/net/" + link); err == nil { // it goes with the namespace, unless the other end never got there
		if err := c.command(ctx, "ip", "link", "delete", link); err != nil {
			return err
		}
	}
	if err := errors.Join(removeCgroups(), os.RemoveAll(c.state)); err != nil {
		return err
	}
	c.say("the cluster is gone")
	return nil
}

// unmount takes away what is mounted below a folder, the innermost first.
func unmount(below string) error {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], below) {
			points = append(points, fields[1])
		}
	}
	slices.Sort(points)
	for _, point := range slices.Backward(points) {
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) { // EINVAL: it went with another
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// removeCgroups removes the group of the pods, and those below it, from every hierarchy.
func removeCgroups() error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + cgroup)
	if err != nil {
		return err
	}
	for _, root := range append(roots, "/sys/fs/cgroup/"+cgroup) {
		var groups []string
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, group := range slices.Backward(groups) { // a group can go when those below it have gone
			if err := os.Remove(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
