package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"

	"tienda/sqldb"
)

// Test is how the restore test of a backup went. It stands beside the backup and goes with it.
type Test struct {
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	OK       bool      `json:"ok"`
	Error    string    `json:"error,omitempty"`
	// Last is the time of the last event that was restored, Logs how many binary logs were applied.
	Last time.Time `json:"last"`
	Logs int       `json:"logs"`
}

// test reads the record of a backup that has one.
func (s *Store) test(ctx context.Context, b Backup) (*Test, error) {
	text, err := s.bucket.read(ctx, b.record())
	if errors.Is(err, errNoObject) {
		return nil, nil // retired just now
	}
	if err != nil {
		return nil, err
	}
	t := &Test{}
	if err := json.Unmarshal(text, t); err != nil {
		s.log.WarnContext(ctx, "not the record of a restore test; the backup counts as not tested", "object", b.record(), "err", err)
		return nil, nil
	}
	return t, nil
}

// newestGood is the first of backups, the newest first, that a restore test has found good; the zero Backup when there is none.
func newestGood(backups []Backup) Backup {
	if i := slices.IndexFunc(backups, func(b Backup) bool { return b.Test != nil && b.Test.OK }); i >= 0 {
		return backups[i]
	}
	return Backup{}
}

// TestOptions say which backups are tested, and how.
type TestOptions struct {
	// Name is a backup that is tested whatever came of it before; when it is empty they are those that were not tested yet, the newest
	// first, and the newest again if it was good: there are more binary logs behind it now.
	Name string
	// For is how long tests may go on; one that has begun by then comes to its end. Zero is for ever.
	For time.Duration
	// Folder is for the server's data and what is fetched; a temporary one when it is empty.
	Folder string
	// Look is given the server with everything restored, and what that is; its error fails the test.
	Look func(ctx context.Context, server sqldb.Config, restored Restored) error
	Now  func() time.Time
}

// TestRestores brings one backup after the other back into servers that are thrown away, each with its binary logs: the newest with all there are, an
// older one with those up to the next, which are the only ones that no other test applies. It looks at the servers and leaves the results in the
// bucket. It returns the backups that were tested, and how many it has left for the next time. An error means that one is no
// good, or could not be tested; the others are tested all the same.
func (s *Store) TestRestores(ctx context.Context, o TestOptions) (tested []Backup, left int, err error) {
	if s.bucket.owner != "" { // without a name it would be a server, and there is none
		owner, err := s.Owner(ctx)
		if err == nil && owner.Name != "" {
			err = owner.is(s.bucket.owner, s.bucket)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	backups, err := s.List(ctx)
	if err != nil {
		return nil, 0, err
	}
	if o.Name != "" || len(backups) == 0 {
		if _, err := s.Find(ctx, o.Name, time.Time{}); err != nil {
			return nil, 0, err
		}
	}
	start := o.Now()
	var failed []error
	for i, b := range backups {
		if wanted := b.Test == nil || i == 0 && b.Test.OK; o.Name != b.Name && (o.Name != "" || !wanted) {
			continue
		}
		if ctx.Err() != nil || o.For > 0 && o.Now().Sub(start) >= o.For {
			left++
			continue
		}
		var next *Position
		if i > 0 {
			next = backups[i-1].Position
		}
		if b.Test, err = s.testRestore(ctx, b, next, o); err == nil {
			err = s.putJSON(ctx, b.record(), b.Test)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s could not be tested: %w", b.Name, err))
			continue
		}
		tested = append(tested, b)
		if !b.Test.OK {
			failed = append(failed, fmt.Errorf("%s is no good: %s", b.Name, b.Test.Error))
		}
	}
	return tested, left, errors.Join(failed...)
}

// errUntested is for what keeps a test from being made.
var errUntested = errors.New("the test could not be made")

// testRestore tests a backup. An error says nothing of the backup: it could not be tested.
func (s *Store) testRestore(ctx context.Context, b Backup, next *Position, o TestOptions) (*Test, error) {
	folder, err := os.MkdirTemp(o.Folder, "restore-test-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }() // a temporary folder
	t := &Test{Started: o.Now().UTC()}
	restored, err := s.tryRestore(ctx, b, next, folder, o)
	if ctx.Err() != nil || err != nil && saysNothing(err) {
		return nil, errors.Join(ctx.Err(), err)
	}
	t.Finished, t.Last, t.Logs, t.OK = o.Now().UTC(), restored.Last.UTC(), restored.Logs, err == nil
	if err != nil {
		t.Error = err.Error()
	}
	return t, nil
}

// saysNothing reports whether an error is of what surrounds a test, and may be gone at the next: the network, the bucket, a
// full disk, a server that does not start, a key that is not for this backup.
func saysNothing(err error) bool {
	if answer, ok := errors.AsType[minio.ErrorResponse](err); ok {
		return answer.Code != minio.NoSuchKey
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, errUntested) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, errNoKey) || errors.Is(err, errOtherKey)
}

func (s *Store) tryRestore(ctx context.Context, b Backup, next *Position, folder string, o TestOptions) (Restored, error) {
	logs, whole, err := s.logsAfter(ctx, b, time.Time{})
	if err != nil {
		return Restored{}, err
	}
	end := ""
	if next != nil {
		i := slices.IndexFunc(logs, func(l shippedLog) bool { return l.file == next.File && l.id == next.ID && l.end >= next.Offset })
		if i == 0 && next.Offset <= b.Position.Offset { // of dumps that were taken at the same time
			logs, whole = nil, true
		} else if i >= 0 {
			logs, whole, end = logs[:i+1], true, fmt.Sprintf("--stop-position=%d", next.Offset)
		}
	}
	here, err := s.fetchAll(ctx, b, logs, folder)
	if err != nil {
		return Restored{}, err
	}
	private, err := StartPrivate(ctx, ofMariaDB(b.Server), folder, 0, "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0")
	if err != nil {
		return Restored{}, fmt.Errorf("%w: %w", errUntested, err)
	}
	defer private.Kill() // it is thrown away
	server, err := connect(ctx, private.Server)
	if err != nil {
		return Restored{}, fmt.Errorf("%w: %w", errUntested, err)
	}
	defer func() { _ = server.close() }() // it is thrown away
	restored, err := s.bringBack(ctx, server, here, end)
	if err != nil {
		return restored, err
	}
	if restored.Lacks != "" {
		return restored, fmt.Errorf("it lacks what the server had when it was taken: %s", restored.Lacks)
	}
	if restored.Whole = whole; !whole {
		return restored, fmt.Errorf("a part of the binary logs behind it is missing, so that it comes back until %s and not further: take a backup now", restored.Last.UTC().Format(time.RFC3339))
	}
	return restored, o.Look(ctx, private.Server, restored)
}
