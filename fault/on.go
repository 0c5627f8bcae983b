//go:build faults

package fault

import (
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

//go:embed points.txt
var pointsFile string

// When a point is; the rest of its name says where.
const (
	beforeCommit = "before-commit "
	afterCommit  = "after-commit "
	answered     = "answered "
	beforeAnswer = "before-answer "
	midAnswer    = "mid-answer "
)

// armed is what the process was told, once, before it serves. It is a variable of the package because
// the hooks stand where nothing could be handed to them without changing what is tested.
var armed atomic.Pointer[arms]

// arms are the rules of a file. The file is looked at again at every point, so that faults can begin
// and end while the process runs.
type arms struct {
	file  string
	known Known
	die   func(point string)

	mu      sync.Mutex
	seen    os.FileInfo // of the file, when it was read
	crashes []crashRule
	calls   []callRule
	record  string
	points  map[string]bool
}

type crashRule struct {
	occasion
	at *regexp.Regexp
}

type callRule struct {
	occasion
	Call
	route *regexp.Regexp
}

// Arm reads a file of faults, which take effect from now on in all of this process. Rules count from
// the moment at which they are read, also when the file is changed later; a change that does not hold
// is reported to standard error and leaves the rules before it in force.
func Arm(file string, known Known) error {
	a := newArms(file, known)
	if err := a.read(); err != nil {
		return err
	}
	armed.Store(a)
	return nil
}

func newArms(file string, known Known) *arms {
	a := &arms{file: file, known: known, die: die, points: map[string]bool{}}
	for _, point := range known.Points() {
		a.points[point] = true
	}
	return a
}

// die ends the process as a power cut would: nothing is closed, nothing is said to anybody.
func die(point string) {
	fmt.Fprintf(os.Stderr, "fault: crash at %s\n", point)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return to say that it failed
	select {}
}

// read takes the rules of the file in if it has changed. The caller holds a.mu or is alone.
func (a *arms) read() error {
	info, err := os.Stat(a.file)
	if err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	if a.seen != nil && os.SameFile(a.seen, info) && info.ModTime().Equal(a.seen.ModTime()) && info.Size() == a.seen.Size() {
		return nil
	}
	a.seen = info
	text, err := os.ReadFile(a.file)
	if err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	rules, err := Parse(text, a.known)
	if err != nil {
		return fmt.Errorf("faults %s: %w", a.file, err)
	}
	a.record, a.crashes, a.calls = rules.Record, nil, nil
	for i, c := range rules.Crashes {
		a.crashes = append(a.crashes, crashRule{newOccasion(c.When, rules.Seed, i), expression(c.At)})
	}
	for i, c := range rules.Calls {
		route := regexp.MustCompile("")
		if c.Route != "" {
			route = expression(c.Route)
		}
		a.calls = append(a.calls, callRule{newOccasion(c.When, rules.Seed, len(rules.Crashes)+i), c, route})
	}
	return nil
}

func (a *arms) refresh() {
	if err := a.read(); err != nil {
		fmt.Fprintf(os.Stderr, "fault: the rules stay as they were: %v\n", err)
	}
}

// pass notes that the process is at a point and reports whether it is to die there.
func (a *arms) pass(point string) bool {
	if !a.points[point] {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refresh()
	if a.record != "" {
		if err := note(a.record, point); err != nil {
			fmt.Fprintf(os.Stderr, "fault: %v\n", err)
		}
	}
	end := false
	for i := range a.crashes {
		if rule := &a.crashes[i]; rule.at.MatchString(point) && rule.now() {
			end = true
		}
	}
	return end
}

func note(file, point string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(point + "\n")
	return errors.Join(err, f.Close())
}

func (a *arms) at(point string) {
	if a.pass(point) {
		a.die(point)
	}
}

// BeforeCommit is the point at which a transaction has done its work and nothing of it is durable.
func BeforeCommit() {
	if a := armed.Load(); a != nil {
		a.at(beforeCommit + asker())
	}
}

// AfterCommit is the point at which a transaction is durable and its caller does not know.
func AfterCommit() {
	if a := armed.Load(); a != nil {
		a.at(afterCommit + asker())
	}
}

// Answered is the point at which a neighbour has done a step and the next is not written down.
func Answered(step string) {
	if a := armed.Load(); a != nil {
		a.at(answered + step)
	}
}

// asker is the function that asked for the transaction under way, as "order.place": the first of the
// callers that is not part of the machinery below.
func asker() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		name, ours := strings.CutPrefix(frame.Function, "tienda/")
		if ours && !strings.HasPrefix(name, "sqldb.") && !strings.HasPrefix(name, "journal.") && !strings.HasPrefix(name, "fault.") {
			return plain(name)
		}
		if !more {
			return "unknown"
		}
	}
}

// closure is what the compiler calls a function without a name.
var closure = regexp.MustCompile(`^(func|gowrap|deferwrap)?\d+$`)

// plain is a name of the runtime, "order.(*Service).place.func1.2", as a person says it, "order.place".
func plain(name string) string {
	name, _, _ = strings.Cut(name, "[") // the types of a generic function
	pkg, rest, _ := strings.Cut(name, ".")
	parts := strings.Split(rest, ".")
	function := parts[0]
	if len(parts) > 1 && !closure.MatchString(parts[1]) {
		function = parts[1] // parts[0] is the receiver
	}
	return pkg + "." + function
}

// Writer is w with the points of the answer to r.
func Writer(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	a := armed.Load()
	if a == nil {
		return w
	}
	return &writer{ResponseWriter: w, request: r, arms: a}
}

type writer struct {
	http.ResponseWriter
	request *http.Request
	arms    *arms
	begun   bool
}

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if status >= 200 {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) begin() {
	if !w.begun {
		w.begun = true
		w.arms.at(beforeAnswer + w.route())
	}
}

// route is the one that answers. It is known once the mux has written it onto the request.
func (w *writer) route() string {
	if strings.HasPrefix(w.request.Pattern, "/") {
		return w.request.Method + " " + w.request.Pattern
	}
	return w.request.Pattern
}

// Write implements io.Writer.
func (w *writer) Write(data []byte) (int, error) {
	w.begin()
	point := midAnswer + w.route()
	if len(data) > 1 && w.arms.pass(point) {
		_, _ = w.ResponseWriter.Write(data[:len(data)/2])
		_ = http.NewResponseController(w.ResponseWriter).Flush() // who is about to die does not look back
		w.arms.die(point)
	}
	return w.ResponseWriter.Write(data)
}

// Unwrap lets http.ResponseController reach flushing and hijacking.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
