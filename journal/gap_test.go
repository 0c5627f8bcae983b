package journal

import (
	"testing"
	"time"

	"tienda/api"
)

func TestYoungGapsAreWaitedFor(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	event := func(seq int64, age time.Duration) api.Event { return api.Event{Seq: seq, At: now.Add(-age)} }
	for name, c := range map[string]struct {
		events []api.Event
		want   int
	}{
		"no gap":                  {[]api.Event{event(8, 3*time.Second), event(9, 3*time.Second)}, 2},
		"young gap in the middle": {[]api.Event{event(8, 5*time.Second), event(10, 3*time.Second), event(11, 3*time.Second)}, 1},
		"young gap at the front":  {[]api.Event{event(9, 3*time.Second)}, 0},
		"old gap":                 {[]api.Event{event(9, time.Minute), event(10, 3*time.Second)}, 2},
	} {
		if got := len(beforeYoungGap(c.events, 7, now.Add(-settledBehindGap))); got != c.want {
			t.Errorf("%s: %d events, want %d", name, got, c.want)
		}
	}
}
