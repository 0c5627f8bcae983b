package backup

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestRotationWhileShipping: what the server writes to a log, and then to the next, while a part of the first is uploaded, is shipped to its
// last event.
func TestRotationWhileShipping(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, _ := newKeys(t)
	store := NewStore(s.bucket(t), writes, quiet())
	spool := t.TempDir()
	write := func(file string, parts ...[]byte) {
		f, err := os.OpenFile(filepath.Join(spool, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.Write(bytes.Join(parts, nil))
		}
		if err != nil {
			t.Error(err)
			return
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	tail := anEvent(102, "the last orders")
	write("binlog.000001", binlogMagic, anEvent(100, "format, checksum"), anEvent(101, "orders"))
	var once sync.Once
	s.failing(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			once.Do(func() {
				write("binlog.000001", tail)
				write("binlog.000002", binlogMagic, anEvent(103, "format, checksum"))
			})
		}
		return false
	})
	p := NewShipper(store, ShipOptions{Now: time.Now})
	at := &place{history: "h", file: "binlog.000001"}
	for range 2 {
		if err := p.shipLogs(t.Context(), spool, at); err != nil {
			t.Fatal(err)
		}
	}
	all, err := store.histories(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || len(all[0].logs) != 2 {
		t.Fatalf("shipped %+v, want two logs", all)
	}
	first := all[0].logs[0]
	if want := time.Unix(102, 0); !first.last.Equal(want) {
		t.Errorf("the first log is shipped up to the event of %v, want %v", first.last, want)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) != 1 {
		t.Errorf("the spool holds %v, %v, want the second log", left, err)
	}
}
