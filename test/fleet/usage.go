package fleet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// Usage is what a process holds at one moment.
type Usage struct {
	PID        int
	Goroutines int
	// Files are open files that are no sockets.
	Files int
	// In are established connections to the port of the process, DB those that it made to MariaDB, and Out
	// those to others.
	In, Out, DB int
}

// get asks a component on its own port.
func (f *Fleet) get(ctx context.Context, p *Process, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", p.Port, path), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %d", path, response.StatusCode)
	}
	return text, err
}

// Usage looks at what a component holds.
func (f *Fleet) Usage(ctx context.Context, p *Process) (Usage, error) {
	u := Usage{PID: p.PID()}
	if u.PID == 0 {
		return u, fmt.Errorf("%s does not run", p.Name)
	}
	metrics, err := f.get(ctx, p, "/metrics")
	if err != nil {
		return u, fmt.Errorf("metrics of %s: %w", p.Name, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "go_goroutines") {
			_, value, _ := strings.Cut(lines.Text(), " ")
			u.Goroutines, err = strconv.Atoi(value)
		}
	}
	if err = errors.Join(err, lines.Err()); err != nil || u.Goroutines == 0 {
		return u, fmt.Errorf("metrics of %s tell of no goroutines: %w", p.Name, err)
	}
	sockets := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", u.PID)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return u, fmt.Errorf("open files of %s: %w", p.Name, err)
	}
	for _, entry := range entries {
		target, err := os.Readlink(dir + "/" + entry.Name())
		if err != nil {
			continue // closed just now
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			sockets[strings.TrimSuffix(inode, "]")] = true
		} else {
			u.Files++
		}
	}
	return u, u.connections(sockets, p.Port, f.mysql)
}

// connections counts the established connections of the process, by their inodes (proc(5), net/tcp). Those to
// a MariaDB that was killed count until the pool finds out: they have a goroutine of the driver's as long.
func (u *Usage) connections(sockets map[string]bool, port, mysql int) error {
	const established, closedThere = "01", "08"
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", u.PID, table))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) < 10 || !sockets[fields[9]] {
				continue
			}
			toMySQL := strings.HasSuffix(fields[2], fmt.Sprintf(":%04X", mysql))
			switch {
			case fields[3] != established && (fields[3] != closedThere || !toMySQL):
			case strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)):
				u.In++
			case toMySQL:
				u.DB++
			default:
				u.Out++
			}
		}
	}
	return nil
}
