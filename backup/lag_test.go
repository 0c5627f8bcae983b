package backup

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// largeTransaction writes so many MB of what cannot be compressed much, in one transaction.
func (d *database) largeTransaction(megabytes int) {
	d.t.Helper()
	d.exec("CREATE TABLE IF NOT EXISTS tienda_order.large (id BIGINT PRIMARY KEY AUTO_INCREMENT, note LONGTEXT)")
	tx, err := d.db.BeginTx(d.t.Context(), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err = tx.ExecContext(d.t.Context(), "SET @text = ''"); err == nil {
		// A megabyte of numbers in hexadecimal that have nothing in common.
		_, err = tx.ExecContext(d.t.Context(), "SELECT GROUP_CONCAT(SHA2(seq, 512) SEPARATOR '') INTO @text FROM tienda_order.seq_1_to_8192")
	}
	for range megabytes {
		if err == nil {
			_, err = tx.ExecContext(d.t.Context(), "INSERT INTO tienda_order.large (note) VALUES (@text)")
		}
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// TestLagBehindLargeTransaction: an order that is written behind a transaction of many megabytes is in the bucket after a few
// intervals, though each upload takes its time: several are under way at once.
func TestLagBehindLargeTransaction(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, _ := newKeys(t)
	d := newDatabase(t)
	d.account()
	d.fill()
	p, _ := shipEvery(t, NewStore(s.bucket(t), writes, quiet()), d.backup, time.Second)
	shipped(t, p)
	var under, most atomic.Int64
	s.failing(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, binlogsFolder) {
			n := under.Add(1)
			defer under.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(100 * time.Millisecond) // as a bucket that is far away
		}
		return false
	})
	d.largeTransaction(24)
	d.order("behind it")
	start := time.Now()
	shipped(t, p)
	if lag := time.Since(start); lag > 8*time.Second {
		t.Errorf("the order is in the bucket after %s, want at most eight intervals of a second", lag)
	} else {
		t.Logf("an order behind 24 MB was in the bucket after %s", lag.Round(time.Millisecond))
	}
	if most.Load() < 2 {
		t.Errorf("%d uploads at once, want several", most.Load())
	}
}

// TestHistoryBeginsWithItsOwnLog: what was written before a history has its first backup is of no use, and nothing waits behind it.
func TestHistoryBeginsWithItsOwnLog(t *testing.T) {
	t.Parallel()
	writes, _ := newKeys(t)
	store := NewStore(newStand(t).bucket(t), writes, quiet())
	d := newDatabase(t)
	d.account()
	d.fill()
	d.largeTransaction(16)
	p, stop := ship(t, store, d.backup)
	d.order("the first that matters")
	shipped(t, p)
	stop()
	objects, err := store.bucket.list(t.Context(), binlogsFolder)
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, o := range objects {
		size += o.size
	}
	if len(objects) == 0 || size > 1<<20 {
		t.Errorf("%d parts of %d bytes are shipped, want none of what was there before", len(objects), size)
	}
}

// TestUploadFailsAmongOthers: when one of several uploads fails, shipping goes on behind the last that has none missing before it, and nothing is
// missing in the end.
func TestUploadFailsAmongOthers(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, _ := newKeys(t)
	store := NewStore(s.bucket(t), writes, quiet())
	spool := t.TempDir()
	log := append(bytes.Clone(binlogMagic), anEvent(100, "format, checksum")...)
	for n := range 5 {
		log = append(log, anEvent(uint32(101+n), strings.Repeat("o", largestSegment*3/4))...)
	}
	if err := os.WriteFile(filepath.Join(spool, "binlog.000001"), log, 0o600); err != nil {
		t.Fatal(err)
	}
	var puts atomic.Int64
	s.failing(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || puts.Add(1) != 2 {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	p := NewShipper(store, ShipOptions{Now: time.Now})
	at := &place{history: "h", file: "binlog.000001"}
	if err := p.shipLogs(t.Context(), spool, at, nil); err == nil || at.end == int64(len(log)) {
		t.Errorf("shipLogs = %v, until %d, want the failure", err, at.end)
	}
	all, err := store.histories(t.Context())
	if err != nil || len(all) > 0 && all[0].logs[0].end < at.end {
		t.Errorf("it goes on at %d, and the bucket has %+v, %v", at.end, all, err)
	}
	if err := p.shipLogs(t.Context(), spool, at, nil); err != nil {
		t.Fatal(err)
	}
	if all, err = store.histories(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := all[0].logs[0]; l.end != int64(len(log)) || l.gap || !l.last.Equal(time.Unix(105, 0)) {
		t.Errorf("shipped until %d and the event of %v, want %d and all", l.end, l.last, len(log))
	}
}
