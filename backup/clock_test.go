package backup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClockJump: when the server's clock went ahead and was put back, a restore until a time stops at the first event of it and says what it left
// out; when it was right, nothing is said.
func TestClockJump(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, reads := newKeys(t)
	store := NewStore(s.named(t, "shop"), writes, quiet())
	d := newDatabase(t)
	d.account()
	d.fill()
	p, stop := ship(t, store, d.backup)
	until(t, "a history begins with a backup", func() bool { return len(results(t, store)) == 1 })
	d.order("behind the dump")
	shipped(t, p)
	moment := time.Now().Add(10 * time.Minute)
	target := newDatabase(t)
	restore := func() Restored {
		t.Helper()
		restored, err := NewStore(s.named(t, "shop"), reads, quiet()).Restore(t.Context(), target.Server, RestoreOptions{Until: moment, Replace: true})
		if err != nil {
			t.Fatal(err)
		}
		return restored
	}
	if restored := restore(); restored.Clock != "" {
		t.Errorf("with a clock that is right it is said that %s", restored.Clock)
	}
	session, err := d.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"SET timestamp = UNIX_TIMESTAMP() + 3600", "INSERT INTO tienda_user.users (name) VALUES ('an hour ahead')", "SET timestamp = DEFAULT"} {
		if _, err := session.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	d.order("when it was put back")
	shipped(t, p)
	stop()
	restored := restore()
	for _, want := range []string{"ahead of the bucket's by ", "1 transactions of before"} {
		if !strings.Contains(restored.Clock, want) {
			t.Errorf("it is said that %q, want %q in it", restored.Clock, want)
		}
	}
}

// TestTransactionsLeft: only the ends of transactions of well before the time count, and only behind its first event.
func TestTransactionsLeft(t *testing.T) {
	t.Parallel()
	const at = 1_767_323_045
	event := func(kind byte, second int) []byte {
		text := anEvent(uint32(at+second), "content")
		text[4] = kind
		return text
	}
	path := filepath.Join(t.TempDir(), "binlog.000007")
	log := append([]byte{}, binlogMagic...)
	for _, e := range [][]byte{
		event(xidEvent, -300), event(xidEvent, -200), event(2, 0), event(xidEvent, 0),
		event(2, -200), event(xidEvent, -30), event(xidEvent, -100), event(xidEvent, 5), event(xidEvent, -90), {1, 2, 3},
	} {
		log = append(log, e...)
	}
	if err := os.WriteFile(path, log, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := transactionsLeft([]string{path}, int64(len(binlogMagic)), time.Unix(at, 0))
	if want := (left{2, time.Unix(at-90, 0), "binlog.000007", int64(len(log) - 3)}); err != nil || got != want {
		t.Errorf("transactionsLeft = %+v, %v, want %+v", got, err, want)
	}
}
