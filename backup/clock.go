package backup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// clockSlack is how far the times of transactions may go back from one to the next without a clock that did: each has the time at which its last
	// statement began.
	clockSlack = time.Minute
	// clocksDiffer is by how much the clocks of a server and a bucket may differ.
	clocksDiffer = 10 * time.Second
	xidEvent     = 16 // the end of a transaction; see [wholeEvents] for the reference
)

// wrongClock says what makes a restore until a time end elsewhere than is meant, because the server's clock was wrong: the tool stops at the first event of
// that time. It is empty when nothing speaks for that.
func wrongClock(logs []shippedLog, here fetched, until time.Time) (string, error) {
	var said []string
	var ahead time.Duration
	for _, l := range logs {
		for _, g := range l.segments {
			ahead = max(ahead, g.last.Sub(g.stored))
		}
	}
	if ahead > clocksDiffer {
		said = append(said, fmt.Sprintf("the server's clock was ahead of the bucket's by %s at least at some time, and it is the server's that counts", ahead.Round(time.Second)))
	}
	left, err := transactionsLeft(here.logs, here.backup.Position.Offset, until)
	if err != nil {
		return "", err
	}
	if left.n > 0 {
		said = append(said, fmt.Sprintf("behind the first event of that time there are %d transactions of before, up to %s, that were not applied: the server's clock was put back, or they took long; those up to offset %d of %s can be applied by hand",
			left.n, left.last.UTC().Format(time.RFC3339), left.end, left.file))
	}
	return strings.Join(said, "; "), nil
}

// left are transactions of before a time that stand behind the first event of it.
type left struct {
	n    int
	last time.Time
	file string // where the last of them ends
	end  int64
}

// transactionsLeft looks through binary logs from an offset of the first on.
func transactionsLeft(files []string, offset int64, until time.Time) (found left, err error) {
	stopped := false
	for _, path := range files {
		if err := eventsOf(path, offset, func(at time.Time, kind byte, end int64) {
			switch {
			case at.Unix() == 0:
			case !stopped:
				stopped = !at.Before(until)
			case kind == xidEvent && at.Before(until.Add(-clockSlack)):
				found = left{found.n + 1, at, filepath.Base(path), end}
			}
		}); err != nil {
			return found, fmt.Errorf("look through the binary log %s: %w", filepath.Base(path), err)
		}
		offset = int64(len(binlogMagic))
	}
	return found, nil
}

// eventsOf shows each whole event of a binary log from an offset on: when it was written, its type, and where it ends.
func eventsOf(path string, offset int64, show func(at time.Time, kind byte, end int64)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	events := bufio.NewReaderSize(file, 1<<20)
	for {
		header, err := events.Peek(eventHeader)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, _, err := eventAt(header)
		if err != nil {
			return err
		}
		kind := header[4]
		if _, err := events.Discard(int(e.length)); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		offset += e.length
		show(e.at, kind, offset)
	}
}
