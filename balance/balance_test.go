package balance

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestOrder: each address has its turn to be the first; one that failed comes last, until it was reached or time has passed.
func TestOrder(t *testing.T) {
	t.Parallel()
	var f Failures
	three := []string{"a", "b", "c"}
	now := time.Unix(0, 0)
	check := func(why string, turn uint64, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, f.Order(three, turn, now)); diff != "" {
			t.Errorf("%s: order of turn %d (-want +got):\n%s", why, turn, diff)
		}
	}
	check("none failed", 0, "a", "b", "c")
	check("none failed", 4, "b", "c", "a")
	f.Note("b", now)
	check("b failed", 1, "c", "a", "b")
	f.Note("c", now.Add(time.Second))
	check("b and c failed", 1, "a", "b", "c")
	f.Forget("b")
	check("b was reached", 1, "b", "a", "c")
	now = now.Add(time.Second + AvoidFor)
	check("c failed long ago", 2, "c", "a", "b")
	f.Note("a", now)
	if len(f.until) != 1 {
		t.Errorf("%d failures are remembered, want the old one forgotten", len(f.until))
	}
	if got := f.Order(nil, 7, now); got != nil {
		t.Errorf("order of nothing = %v", got)
	}
}
