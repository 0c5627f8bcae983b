package fleet

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets this program play the one that starts processes and is killed.
func TestMain(m *testing.M) {
	if os.Getenv("FLEET_TEST_STARTER") == "" {
		os.Exit(m.Run())
	}
	command := exec.Command("sleep", "600")
	if err := newSpawner().start(command); err != nil {
		panic(err)
	}
	os.Stdout.WriteString(strconv.Itoa(command.Process.Pid) + "\n")
	select {}
}

// TestProcessesEndWithTheirStarter: whoever is killed leaves no process behind.
func TestProcessesEndWithTheirStarter(t *testing.T) {
	t.Parallel()
	starter := exec.CommandContext(t.Context(), os.Args[0])
	starter.Env = append(os.Environ(), "FLEET_TEST_STARTER=1")
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatalf("process %d does not run", pid)
	}
	if err := starter.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = starter.Wait() // it was killed
	for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d outlives the one that started it", pid)
		}
	}
}

// alive reports whether a process runs; one that has ended and was not waited for does not.
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(state, "Z")
}

// TestSupervision: a process that ends is started again, and why it ended is known.
func TestSupervision(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ended := make(chan Exit, 10)
	start := func(name, script string) *Process {
		p := &Process{Name: name, command: []string{"sh", "-c", script}, logs: filepath.Join(dir, name)}
		p.supervise(t.Context(), newSpawner(), func(_ *Process, e Exit) { ended <- e })
		t.Cleanup(p.end)
		return p
	}
	next := func() Exit {
		select {
		case e := <-ended:
			return e
		case <-time.After(20 * time.Second):
			t.Fatal("nothing ended")
			return Exit{}
		}
	}
	victim := start("victim", "exec sleep 600")
	for range 2 {
		for deadline := time.Now().Add(10 * time.Second); !victim.Kill(time.Millisecond); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the process does not start")
			}
		}
		if e := next(); !e.Killed || e.Process != "victim" || e.Down != time.Millisecond {
			t.Errorf("a kill is told as %+v", e)
		}
	}
	victim.end()
	crash := start("crash", "echo 'fault: late, a call' >&2; echo 'fault: crash at before-commit order.place' >&2; kill -9 $$")
	if e := next(); e.Killed || e.Crashed != "before-commit order.place" {
		t.Errorf("a crash point is told as %+v", e)
	}
	crash.end()
	start("broken", "echo 'tienda: port 1 is taken' >&2; exit 1")
	for e := next(); ; e = next() {
		if e.Process != "broken" {
			continue // the last ends of the one before
		}
		if e.Killed || e.Crashed != "" || !strings.Contains(e.Why, "exit status 1: tienda: port 1 is taken") {
			t.Errorf("an end by itself is told as %+v", e)
		}
		break
	}
}

// TestStop: a process that is stopped has time to say goodbye.
func TestStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := &Process{Name: "polite", command: []string{"sh", "-c", "trap 'echo goodbye; exit 0' TERM; echo hello; while :; do sleep 0.01; done"}, logs: filepath.Join(dir, "polite")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.supervise(ctx, newSpawner(), nil)
	said := func() string {
		text, err := os.ReadFile(filepath.Join(dir, "polite.log"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text)
	}
	for deadline := time.Now().Add(10 * time.Second); said() == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the process says nothing")
		}
	}
	pid := p.PID()
	p.end()
	if said() != "hello\ngoodbye\n" || syscall.Kill(pid, 0) == nil {
		t.Errorf("said %q; process %d still there: %v", said(), pid, syscall.Kill(pid, 0) == nil)
	}
}
