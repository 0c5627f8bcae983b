package fleet

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one process of the shop. It is started again whenever it ends, until the fleet stops.
type Process struct {
	Name      string // "order-service-2"
	Component string // "order-service"
	Port      int
	context   string

	command, environ []string
	logs             string // its files are this with .log and .err

	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	running *exec.Cmd
	started time.Time
	pause   time.Duration // before the next start; of a kill
	killed  bool
	exits   []Exit
}

// Exit is one end of a process.
type Exit struct {
	At      time.Time
	Process string
	Killed  bool          // by [Process.Kill]
	Crashed string        // the point of a file of faults, if it was one
	Why     string        // what the process said, if it ended by itself
	Down    time.Duration // until it was started again
}

// restart is how long the supervisor waits before it starts a process that ended by itself.
const restart = 300 * time.Millisecond

// grace is how long a process has to end when it is asked to.
const grace = 30 * time.Second

// supervise starts the process, and again whenever it ends.
func (p *Process) supervise(ctx context.Context, s *spawner, ended func(*Process, Exit)) {
	ctx, p.cancel = context.WithCancel(ctx)
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		for ctx.Err() == nil {
			exit := p.once(ctx, s)
			if ended != nil && ctx.Err() == nil {
				ended(p, exit)
			}
			select {
			case <-ctx.Done():
			case <-time.After(exit.Down):
			}
		}
	}()
}

// once runs the process to its end.
func (p *Process) once(ctx context.Context, s *spawner) Exit {
	command := exec.Command(p.command[0], p.command[1:]...) //nolint:noctx // it is asked to end below, not killed
	command.Env = p.environ
	var said tail
	err := p.start(command, &said, s)
	if err == nil {
		stopped := context.AfterFunc(ctx, func() {
			_ = command.Process.Signal(syscall.SIGTERM) // it may have ended just now
			time.AfterFunc(grace, func() { _ = command.Process.Kill() })
		})
		err = command.Wait()
		stopped()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = nil
	exit := Exit{At: time.Now(), Process: p.Name, Killed: p.killed, Down: restart}
	switch point, crashed := said.crash(); {
	case p.killed:
		exit.Down = p.pause
	case crashed:
		exit.Crashed = point
	default:
		exit.Why = fmt.Sprintf("%v: %s", err, said.last())
	}
	p.killed, p.pause = false, 0
	if ctx.Err() == nil {
		p.exits = append(p.exits, exit)
	}
	return exit
}

func (p *Process) start(command *exec.Cmd, said *tail, s *spawner) error {
	out, err := os.OpenFile(p.logs+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	errs, err := os.OpenFile(p.logs+".err", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer errs.Close()
	end, err := errs.Seek(0, 2)
	if err != nil {
		return err
	}
	said.file, said.from = p.logs+".err", end
	command.Stdout, command.Stderr = out, errs
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := s.start(command); err != nil {
		return err
	}
	p.running, p.started = command, time.Now()
	return nil
}

// Kill ends the process with SIGKILL, to be started again after a pause. It reports false when the
// process was not running.
func (p *Process) Kill(pause time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil || p.killed {
		return false
	}
	p.killed, p.pause = true, pause
	return p.running.Process.Kill() == nil
}

// Stall stops the process for a while, as a machine does that is paused: when it goes on it knows nothing
// of the time in between. It reports false when the process was not running.
func (p *Process) Stall(pause time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil || p.killed {
		return false
	}
	stalled := p.running.Process
	if stalled.Signal(syscall.SIGSTOP) != nil {
		return false
	}
	time.AfterFunc(pause, func() { _ = stalled.Signal(syscall.SIGCONT) }) // it may have been killed meanwhile
	return true
}

// Exits are the ends of the process so far.
func (p *Process) Exits() []Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Exit(nil), p.exits...)
}

// PID is the id of the process that runs, or 0.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return 0
	}
	return p.running.Process.Pid
}

// Logs are the files that the process writes to: its log, and what it says to standard error.
func (p *Process) Logs() (log, errs string) { return p.logs + ".log", p.logs + ".err" }

// end stops the process for good.
func (p *Process) end() {
	if p.cancel != nil {
		p.cancel()
		<-p.done
	}
}

// tail is what a process has said to standard error since it was started.
type tail struct {
	file string
	from int64
}

func (t *tail) text() string {
	file, err := os.Open(t.file)
	if err != nil {
		return ""
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return ""
	}
	const most = 8 << 10
	text := make([]byte, most)
	n, _ := file.ReadAt(text, max(t.from, info.Size()-most)) // the end of the file is no failure
	return string(bytes.TrimSpace(text[:n]))
}

// crash is the point of a file of faults at which the process killed itself.
func (t *tail) crash() (string, bool) {
	_, point, ok := strings.Cut(t.last(), "fault: crash at ")
	return point, ok
}

func (t *tail) last() string {
	text := t.text()
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// spawner starts processes from one thread that lives as long as this process does: the kernel ends a
// child when the thread that made it ends (prctl(2), PR_SET_PDEATHSIG).
type spawner struct {
	commands chan func()
	stop     func() // ends the thread; nothing may run any more
}

func newSpawner() *spawner {
	s := &spawner{commands: make(chan func())}
	s.stop = sync.OnceFunc(func() { close(s.commands) })
	go func() {
		runtime.LockOSThread() // and never unlocked: it ends with the goroutine
		for do := range s.commands {
			do()
		}
	}()
	return s
}

// start starts a command that is killed when this process ends, and that the keys of a terminal do not
// reach.
func (s *spawner) start(command *exec.Cmd) error {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	result := make(chan error)
	s.commands <- func() { result <- command.Start() }
	return <-result
}
