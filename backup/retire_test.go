package backup

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRetire: what is older than it is kept goes, but for the newest and the newest that a restore test has found good, by the clock of
// the bucket; and with it go the binary logs that nothing needs any more.
func TestRetire(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := newStandAt(t, clock)
	writes, _ := newKeys(t)
	store := NewStore(s.bucket(t), writes, quiet())
	put := func(name, content string) {
		t.Helper()
		if err := store.putBytes(t.Context(), name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for day := range 6 {
		log := fmt.Sprintf("binlog.%06d", day+1)
		b := Backup{Name: time.Date(2031, 5, day+1, 0, 0, 0, 0, time.UTC).Format(nameLayout) + "-0000", Size: 4, Position: &Position{File: log, ID: "id", Offset: 50}} // a clock that is wrong by years
		names = append(names, b.Name)
		put(b.object(), "dump")
		if err := store.putJSON(t.Context(), b.manifest(), b); err != nil {
			t.Fatal(err)
		}
		put(segment{history: "h", file: log, id: "id", end: 100, last: time.Unix(1, 0)}.name(), "log")
		put(segment{history: "before", file: log, id: "other", end: 100, last: time.Unix(1, 0)}.name(), "log")
		put(segment{history: "before", file: log, id: "other", start: 50, end: 70, last: time.Unix(1, 0)}.name(), "log") // which the other has as well
		clock.Advance(24 * time.Hour)
	}
	put(Backup{Name: "20260101T000000Z-0000"}.object(), "broken off") // just now
	for i, ok := range []bool{true, true, false} {
		if err := store.putJSON(t.Context(), Backup{Name: names[i]}.record(), Test{OK: ok}); err != nil {
			t.Fatal(err)
		}
	}
	put(Backup{Name: "20260102T000000Z-0000"}.record(), "{}") // of a backup that went while it was tested
	put(segment{history: "h", file: "binlog.000007", id: "id", end: 100, last: time.Unix(1, 0)}.name(), "log")
	retired, err := store.Retire(t.Context(), 60*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{names[2], names[0]}, retired); diff != "" {
		t.Errorf("retired (-want +got):\n%s", diff)
	}
	objects, err := store.bucket.list(t.Context(), binlogsFolder)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{}
	for _, o := range objects {
		g, _ := parseSegment(o.name)
		kept[g.history] += g.file[len(g.file)-1:]
	}
	if diff := cmp.Diff(map[string]string{"h": "234567", "before": "445566"}, kept); diff != "" {
		t.Errorf("binary logs that are kept (-want +got):\n%s", diff)
	}
	// A year later, with nothing new, nothing more goes.
	clock.Advance(365 * 24 * time.Hour)
	if retired, err := store.Retire(t.Context(), 60*time.Hour); err != nil || len(retired) > 0 {
		t.Errorf("Retire = %v, %v, want nothing", retired, err)
	}
	if _, err := store.Retire(t.Context(), time.Minute); err == nil {
		t.Error("backups are kept for a minute")
	}
	// What was broken off goes a day later, when there is something newer.
	b := Backup{Name: "20320101T000000Z-0000", Size: 4}
	put(b.object(), "dump")
	if err := store.putJSON(t.Context(), b.manifest(), b); err != nil {
		t.Fatal(err)
	}
	s.failing(func(w http.ResponseWriter, r *http.Request) bool { // in a bucket where nothing may be deleted
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusForbidden)
		}
		return r.Method == http.MethodDelete
	})
	if _, err := store.Retire(t.Context(), 60*time.Hour); err == nil || !strings.Contains(err.Error(), "delete") {
		t.Errorf("Retire = %v, want an error", err)
	}
	s.failing(nil)
	if _, err := store.Retire(t.Context(), 60*time.Hour); err != nil {
		t.Fatal(err)
	}
	left, err := store.bucket.list(t.Context(), dumpsFolder)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, o := range left {
		have = append(have, strings.TrimPrefix(o.name, dumpsFolder))
	}
	if diff := cmp.Diff([]string{names[1] + ".json", names[1] + dumpSuffix, names[1] + recordSuffix, b.Name + ".json", b.Name + dumpSuffix}, have); diff != "" {
		t.Errorf("dumps that are kept (-want +got):\n%s", diff)
	}
}
