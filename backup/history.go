package backup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// history is what the bucket has of the binary logs that one server wrote without a break.
type history struct {
	name    string
	logs    []shippedLog // in their order
	written time.Time    // of the newest segment, by the clock of the bucket
}

// shippedLog is what the bucket has of a binary log.
type shippedLog struct {
	file, id string
	number   int64
	end      int64     // everything before it is there
	last     time.Time // of its events
	segments []segment // in the order of their offsets
	objects  []string  // all there are, also what the segments leave out
	gap      bool      // there are segments behind end, and something between
	written  time.Time
}

// histories are all of the bucket, the one that was written to last at the end.
func (s *Store) histories(ctx context.Context) ([]history, error) {
	objects, err := s.bucket.list(ctx, binlogsFolder)
	if err != nil {
		return nil, err
	}
	byName := map[string]*history{}
	for _, o := range objects {
		g, ok := parseSegment(o.name)
		if !ok {
			s.log.WarnContext(ctx, "not a part of a binary log", "object", o.name)
			continue
		}
		g.stored = o.modified
		h := byName[g.history]
		if h == nil {
			h = &history{name: g.history}
			byName[g.history] = h
		}
		i := slices.IndexFunc(h.logs, func(l shippedLog) bool { return l.file == g.file && l.id == g.id })
		if i < 0 {
			n, _ := logNumber(g.file) // parseSegment has tried
			i = len(h.logs)
			h.logs = append(h.logs, shippedLog{file: g.file, id: g.id, number: n})
		}
		l := &h.logs[i]
		l.segments, l.objects = append(l.segments, g), append(l.objects, o.name)
		l.written, h.written = later(l.written, o.modified), later(h.written, o.modified)
	}
	var all []history
	for _, h := range byName {
		for i := range h.logs {
			h.logs[i].join()
		}
		slices.SortFunc(h.logs, func(a, b shippedLog) int {
			return cmp.Or(cmp.Compare(a.number, b.number), a.written.Compare(b.written))
		})
		all = append(all, *h)
	}
	slices.SortFunc(all, func(a, b history) int { return cmp.Or(a.written.Compare(b.written), cmp.Compare(a.name, b.name)) })
	return all, nil
}

// join puts the segments in order, leaves out what others have as well, and finds out how far they reach without a gap. A segment whose
// upload succeeded unnoticed is there twice, the second time as a part of a longer one.
func (l *shippedLog) join() {
	slices.SortFunc(l.segments, func(a, b segment) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end)) })
	var joined []segment
	for _, g := range l.segments {
		if l.gap = g.start > l.end; l.gap {
			break
		}
		if g.end > l.end {
			joined = append(joined, g)
			l.end, l.last = g.end, later(l.last, g.last)
		}
	}
	l.segments = joined
}

// from are the logs that follow a position, which must be reached. They end where something is missing; whole is false when there is more behind
// that.
func (h history) from(p Position) (logs []shippedLog, whole bool, err error) {
	i := slices.IndexFunc(h.logs, func(l shippedLog) bool { return l.file == p.File && l.id == p.ID })
	if i < 0 || h.logs[i].end < p.Offset {
		return nil, false, fmt.Errorf("history %s has not got the binary log %s up to %d, where the backup was taken", h.name, p.File, p.Offset)
	}
	logs = h.logs[i : i+1]
	for _, next := range h.logs[i+1:] {
		last := logs[len(logs)-1]
		if next.number == last.number {
			return nil, false, fmt.Errorf("history %s has two binary logs %s", h.name, next.file)
		}
		if last.gap || next.number != last.number+1 || len(next.segments) == 0 {
			return logs, false, nil
		}
		logs = append(logs, next)
	}
	return logs, !logs[len(logs)-1].gap, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
