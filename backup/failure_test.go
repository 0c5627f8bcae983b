package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestBucketFails: what a bucket refuses, breaks off or answers wrongly is an error that says so and never a backup, and the next attempt
// works.
func TestBucketFails(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, _ := newKeys(t)
	store := NewStore(s.bucket(t), writes, quiet())
	d := newDatabase(t)
	d.account()
	d.fill()
	answer := func(status int, code string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet {
				return false
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code><Message>no</Message></Error>")
			return true
		}
	}
	for _, test := range []struct {
		name string
		fail func(http.ResponseWriter, *http.Request) bool
		want string
	}{
		{"refuses", answer(http.StatusForbidden, "AccessDenied"), "AWS_ACCESS_KEY_ID"},
		{"is another", answer(http.StatusNotFound, "NoSuchBucket"), "make the bucket"},
		{"has another time", answer(http.StatusForbidden, "RequestTimeTooSkewed"), "the clock of this machine is wrong"},
		{"cuts every part off", func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut {
				return false
			}
			_, _ = io.CopyN(io.Discard, r.Body, 100)
			panic(http.ErrAbortHandler)
		}, "store"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.failing(test.fail)
			_, err := store.Create(t.Context(), d.backup, "test", time.Now)
			s.failing(nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Create = %v, want an error with %q", err, test.want)
			}
			if backups, err := store.List(t.Context()); err != nil || len(backups) > 0 {
				t.Errorf("List = %v, %v, want none", backups, err)
			}
		})
	}
	var failures atomic.Int32
	s.failing(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || failures.Add(1) > 2 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	if _, err := store.Create(t.Context(), d.backup, "test", time.Now); err != nil || failures.Load() < 3 {
		t.Errorf("with two failures, Create = %v after %d calls, want success", err, failures.Load())
	}
}

// TestUploadFailsInBetween: when the bucket refuses a later part, that is the error, and not what becomes of the tool whose output nobody takes.
func TestUploadFailsInBetween(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.failing(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusForbidden)
		}
		return r.Method == http.MethodPut
	})
	_, _, err := NewStore(s.bucket(t), Keys{}, quiet()).putStream(t.Context(), "dumps/large", func(w io.Writer) error {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return errors.New("the tool was cut off")
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("putStream = %v, want why the bucket refuses it", err)
	}
}

// TestDumpFails: a tool that does not come to its end leaves no backup, and what it said is in the error; the password is in no argument.
func TestDumpFails(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, _ := newKeys(t)
	store := NewStore(s.bucket(t), writes, quiet())
	d := newDatabase(t)
	d.account()
	d.fill()
	d.exec("CREATE DATABASE secret", "CREATE TABLE secret.t (id INT)", "CREATE VIEW tienda_user.broken AS SELECT * FROM secret.t", "DROP TABLE secret.t")
	_, err := store.Create(t.Context(), d.backup, "test", time.Now)
	if err == nil || !strings.Contains(err.Error(), "tienda_user.broken") || strings.Contains(err.Error(), "quoted") {
		t.Errorf("Create = %v, want what the tool said", err)
	}
	if backups, err := store.List(t.Context()); err != nil || len(backups) > 0 {
		t.Errorf("List = %v, %v, want none", backups, err)
	}
	d.exec("DROP VIEW tienda_user.broken")
	if _, err := NewStore(s.bucket(t), Keys{}, quiet()).Create(t.Context(), d.backup, "test", time.Now); err == nil || !strings.Contains(err.Error(), "--recipient") {
		t.Errorf("Create without a key = %v, want an error that says how to name one", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Create(gone, d.backup, "test", time.Now); err == nil {
		t.Error("a backup that was called off is taken")
	}
	server, err := connect(t.Context(), d.backup)
	if err != nil {
		t.Fatal(err)
	}
	command, err := server.command(t.Context(), "dump", "--all-databases")
	if err != nil {
		t.Fatal(err)
	}
	if seen := strings.Join(append(command.Args, command.Env...), " "); strings.Contains(seen, "quoted") {
		t.Errorf("the password is seen by others: %s", seen)
	}
	if info, err := os.Stat(server.login()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of the login is %v, %v", info, err)
	}
	if err := server.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(server.login()); err == nil {
		t.Error("the file of the login stays behind")
	}
}

// TestDamage: whatever happened to the objects, or with another key, nothing of the server is touched.
func TestDamage(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, reads := newKeys(t)
	_, stranger := newKeys(t)
	store := NewStore(s.bucket(t), writes, quiet())
	d := newDatabase(t)
	d.account()
	d.fill()
	p, stop := ship(t, store, d.backup)
	until(t, "there is a backup", func() bool {
		backups, err := store.List(t.Context())
		return err == nil && len(backups) == 1
	})
	d.order("behind the dump")
	shipped(t, p)
	stop()
	b, err := store.Find(t.Context(), "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := store.histories(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	logs := all[0].logs
	segment := logs[len(logs)-1].segments[0].object
	target := newDatabase(t)
	target.exec("CREATE DATABASE tienda_order", "CREATE TABLE tienda_order.precious (id INT)")
	flip := func(text []byte) []byte {
		text[len(text)-20] ^= 1
		return text
	}
	cut := func(text []byte) []byte { return text[:len(text)-30] }
	for _, test := range []struct {
		name, object string
		keys         Keys
		change       func([]byte) []byte
		want         string
	}{
		{"another key", "", stranger, nil, "the private key does not open this backup"},
		{"no key", "", writes, nil, "--identity"},
		{"a changed dump", b.object(), reads, flip, "is damaged"},
		{"a dump that was cut short", b.object(), reads, cut, "there is no such backup"},
		{"a changed log", segment, reads, flip, "open binlogs/"},
		{"a log that was cut short", segment, reads, cut, "open binlogs/"},
		{"a log that is text", segment, reads, func([]byte) []byte { return []byte("text") }, "open binlogs/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.change != nil {
				var before []byte
				s.change(t, test.object, func(text []byte) []byte {
					before = bytes.Clone(text)
					return test.change(text)
				})
				defer s.change(t, test.object, func([]byte) []byte { return before })
			}
			_, err := NewStore(s.bucket(t), test.keys, quiet()).Restore(t.Context(), target.Server, RestoreOptions{Replace: true})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Restore = %v, want an error with %q", err, test.want)
			}
			target.exec("SELECT id FROM tienda_order.precious")
		})
	}
	reader := NewStore(s.bucket(t), reads, quiet())
	if _, err := reader.Restore(t.Context(), target.Server, RestoreOptions{Name: "20200101T000000Z"}); err == nil || !strings.Contains(err.Error(), "tienda backup list") {
		t.Errorf("Restore of another name = %v", err)
	}
	if _, err := reader.Restore(t.Context(), target.Server, RestoreOptions{Until: b.Finished.Add(-time.Hour)}); err == nil || !strings.Contains(err.Error(), "the oldest of") {
		t.Errorf("Restore of a time before all = %v", err)
	}
	if _, err := reader.Restore(t.Context(), target.Server, RestoreOptions{Replace: true}); err != nil {
		t.Errorf("Restore of what is whole again = %v", err)
	}
}

// TestAnotherServer: when another server is in the place of the one before, its logs are another history, with a backup of its own,
// whatever they are called; the history before stays as it was.
func TestAnotherServer(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, reads := newKeys(t)
	store, reader := NewStore(s.bucket(t), writes, quiet()), NewStore(s.bucket(t), reads, quiet())
	count := func() int {
		backups, err := store.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(backups)
	}
	first, second := newDatabase(t), newDatabase(t)
	first.account()
	first.fill()
	p, stop := ship(t, store, first.backup)
	until(t, "the first has a backup", func() bool { return count() == 1 })
	first.order("on the first")
	shipped(t, p)
	stop()
	second.account()
	second.fill()
	second.order("on the second")
	if _, err := store.Create(t.Context(), second.backup, "test", time.Now); !errors.Is(err, ErrOwner) || !strings.Contains(err.Error(), "tienda backup take-over") {
		t.Errorf("Create of another server = %v, want a refusal that says what to do", err)
	}
	takeOver(t, store, second)
	time.Sleep(1100 * time.Millisecond) // the clock of a bucket counts seconds
	p, stop = ship(t, store, second.backup)
	until(t, "the second has a backup", func() bool { return count() == 2 })
	second.order("on the second, behind")
	shipped(t, p)
	stop()
	backups, err := store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := backups[0].Position, backups[1].Position; a.File != b.File || a.ID == b.ID {
		t.Errorf("positions are %+v and %+v: want the same name of two logs", a, b)
	}
	if _, err := reader.Restore(t.Context(), second.Server, RestoreOptions{Replace: true}); err == nil || !strings.Contains(err.Error(), "of this very server") {
		t.Errorf("Restore of what the server itself has backed up = %v, want a refusal", err)
	}
	target := newDatabase(t)
	for i, d := range []*database{second, first} {
		if _, err := reader.Restore(t.Context(), target.Server, RestoreOptions{Name: backups[i].Name, Replace: true}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d.content(), target.content()); diff != "" {
			t.Errorf("restore of %s (-before +after):\n%s", backups[i].Name, diff)
		}
		target.db.Close()
		target.Stop()
		target.start()
	}
}

// TestServerWithoutRowLogs: what cannot be repeated is not shipped, and the error says what to set.
func TestServerWithoutRowLogs(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, reads := newKeys(t)
	store := NewStore(s.named(t, "shop"), writes, quiet())
	for _, test := range []struct{ option, want string }{{"--skip-log-bin", "log_bin"}, {"--log-bin=binlog", "binlog_format"}} {
		server, err := StartPrivate(t.Context(), true, t.TempDir(), 0, test.option)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Kill()
		err = NewShipper(store, ShipOptions{Server: server.Server, Every: time.Second, Now: time.Now}).follow(t.Context())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("with %s: %v, want an error with %q", test.option, err, test.want)
		}
		if test.option != "--skip-log-bin" {
			continue
		}
		// Without binary logs there are dumps all the same, which stand for themselves.
		d := &database{Private: server, t: t}
		d.open()
		d.fill()
		b, err := store.Create(t.Context(), server.Server, "test", time.Now)
		if err != nil || b.Position != nil {
			t.Fatalf("Create = %+v, %v", b, err)
		}
		reader := NewStore(s.bucket(t), reads, quiet())
		if _, err := reader.Restore(t.Context(), server.Server, RestoreOptions{Replace: true, Until: time.Now().Add(time.Minute)}); err == nil || !strings.Contains(err.Error(), "leave the time out") {
			t.Errorf("Restore until a time = %v", err)
		}
		before := d.content()
		d.db.Close()
		if restored, err := reader.Restore(t.Context(), server.Server, RestoreOptions{Replace: true}); err != nil || restored.Logs != 0 {
			t.Fatalf("Restore = %+v, %v", restored, err)
		}
		d.open()
		if diff := cmp.Diff(before, d.content()); diff != "" {
			t.Errorf("restored (-before +after):\n%s", diff)
		}
	}
}

// TestKeys: keys are files that others than this program can make, and what is no key is told without telling it.
func TestKeys(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("AGE-SECRET-KEY-1NOTQUITE"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeys(nil, path); err == nil || strings.Contains(err.Error(), "NOTQUITE") || !strings.Contains(err.Error(), path) {
		t.Errorf("a key that is none = %v", err)
	}
	if _, err := ReadKeys([]string{"age1nothing"}, ""); err == nil || !strings.Contains(err.Error(), "tienda backup keygen") {
		t.Errorf("a public key that is none = %v", err)
	}
	for _, url := range []string{"", "nyc3.digitaloceanspaces.com/b", "https://nyc3.digitaloceanspaces.com", "s3://bucket", "https://user:secret@host/b"} {
		if _, err := OpenBucket(Place{URL: url, AccessKey: "a", SecretKey: "b"}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("OpenBucket(%q) = %v, want an error without secrets", url, err)
		}
	}
	if _, err := OpenBucket(Place{URL: "https://host/b"}); err == nil || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY") {
		t.Errorf("OpenBucket without keys = %v", err)
	}
}

// TestMetricsAreDocumented: what Prometheus is told stands in the document, and nothing else does.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	store := NewStore(s.bucket(t), Keys{}, quiet())
	text, err := os.ReadFile("../docs/recovery.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, match := range regexp.MustCompile("`(backup_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		documented[match[1]] = true
	}
	told := map[string]bool{}
	for line := range strings.Lines(scrape(t, NewMonitor(store, NewShipper(store, ShipOptions{Now: time.Now}), time.Now))) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ = strings.Cut(name, " ")
			told[name] = true
		}
	}
	if diff := cmp.Diff(told, documented); diff != "" || len(told) < 10 {
		t.Errorf("metrics (-told +documented):\n%s", diff)
	}
}
