package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// memory tells how much every container of a namespace has taken at most since it started: resident in its first process,
// and charged to its group, which counts files that are kept in memory until somebody else needs it.
func (c cluster) memory(ctx context.Context, namespace string) error {
	text, err := c.output(ctx, c.program("kubectl"), "get", "pods", "--namespace="+namespace, "--output=json")
	if err != nil {
		return err
	}
	var pods struct {
		Items []struct {
			Spec struct {
				Containers []struct {
					Name      string
					Resources struct{ Requests, Limits struct{ Memory string } }
				}
			}
			Status struct {
				ContainerStatuses []struct{ Name, ContainerID string }
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &pods); err != nil {
		return err
	}
	groups, err := containerGroups()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "container\tresident\tcharged\trequested\tlimit")
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			i := slices.IndexFunc(pod.Status.ContainerStatuses, func(s struct{ Name, ContainerID string }) bool { return s.Name == container.Name })
			if i < 0 {
				continue // it did not start yet
			}
			_, id, _ := strings.Cut(pod.Status.ContainerStatuses[i].ContainerID, "://")
			group, ok := groups[id]
			if !ok {
				continue // it has ended
			}
			resident, charged, err := peaks(group)
			if err != nil {
				return fmt.Errorf("%s: %w", container.Name, err)
			}
			fmt.Fprintf(table, "%s\t%d Mi\t%d Mi\t%s\t%s\n", container.Name, resident>>20, charged>>20, container.Resources.Requests.Memory, container.Resources.Limits.Memory)
		}
	}
	return table.Flush()
}

// containerGroups are the groups of memory of all containers, by the containers' ids.
func containerGroups() (map[string]string, error) {
	found := map[string]string{}
	for _, root := range []string{"/sys/fs/cgroup/memory/" + cgroup, "/sys/fs/cgroup/" + cgroup} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the other version of cgroups, or a container that has just ended
			}
			if err == nil && entry.IsDir() {
				found[filepath.Base(path)] = path
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// peaks are the most that the first process of a group had resident, and that its group was charged for, in bytes.
func peaks(group string) (resident, charged int64, err error) {
	for _, file := range []string{"memory.peak", "memory.max_usage_in_bytes"} { // of the second version of cgroups, and of the first
		text, err := os.ReadFile(filepath.Join(group, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		if charged, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err != nil {
			return 0, 0, err
		}
	}
	processes, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return 0, 0, err
	}
	first, _, _ := bytes.Cut(processes, []byte("\n"))
	status, err := os.ReadFile(filepath.Join("/proc", string(first), "status"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, charged, err
		}
	}
	return 0, 0, fmt.Errorf("process %s does not tell how much it has resident", first)
}
