package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"tienda/sqldb"
)

// Test is how a restore test went.
type Test struct {
	Backup   string    `json:"backup"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	OK       bool      `json:"ok"`
	Error    string    `json:"error,omitempty"`
	// Last is the time of the last event that was restored, Logs how many binary logs were applied.
	Last time.Time `json:"last"`
	Logs int       `json:"logs"`
	// Good is the last backup that was found good, by this test or one before, and GoodAt when.
	Good   string    `json:"good,omitempty"`
	GoodAt time.Time `json:"goodAt"`
}

const testObject = "status/restore-test.json"

// LastTest is how the last restore test went; the zero Test if there was none.
func (s *Store) LastTest(ctx context.Context) (Test, error) {
	var t Test
	text, err := s.bucket.read(ctx, testObject)
	if errors.Is(err, errNoObject) {
		return t, nil
	}
	if err == nil {
		if err = json.Unmarshal(text, &t); err != nil {
			err = fmt.Errorf("read the result of the last restore test: %w", err)
		}
	}
	return t, err
}

// TestOptions say how a backup is tested.
type TestOptions struct {
	// Folder is for the server's data and what is fetched; a temporary one when it is empty.
	Folder string
	// Look is given the server with everything restored, and what that is; its error fails the test.
	Look func(ctx context.Context, server sqldb.Config, restored Restored) error
	Now  func() time.Time
}

// TestRestore brings the newest backup and its binary logs back into a server that is thrown away afterwards, looks at it, and leaves
// the result in the bucket. An error means that the backup is no good, or that the result could not be left.
func (s *Store) TestRestore(ctx context.Context, o TestOptions) (Test, error) {
	before, err := s.LastTest(ctx)
	if err != nil {
		return Test{}, err
	}
	t := Test{Started: o.Now().UTC(), Good: before.Good, GoodAt: before.GoodAt}
	restored, err := s.tryRestore(ctx, o)
	t.Finished = o.Now().UTC()
	t.Backup, t.Last, t.Logs, t.OK = restored.Backup.Name, restored.Last.UTC(), restored.Logs, err == nil
	if err == nil {
		t.Good, t.GoodAt = t.Backup, t.Finished
	} else {
		t.Error = err.Error()
	}
	if ctx.Err() != nil {
		return t, err // it was broken off, which says nothing of the backup
	}
	return t, errors.Join(err, s.putJSON(ctx, testObject, t))
}

func (s *Store) tryRestore(ctx context.Context, o TestOptions) (Restored, error) {
	folder, err := os.MkdirTemp(o.Folder, "restore-test-")
	if err != nil {
		return Restored{}, err
	}
	defer func() { _ = os.RemoveAll(folder) }() // a temporary folder
	b, err := s.Find(ctx, "", time.Time{})
	if err != nil {
		return Restored{}, err
	}
	server, err := StartPrivate(ctx, ofMariaDB(b.Server), folder, 0, "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0")
	if err != nil {
		return Restored{Backup: b}, err
	}
	defer server.Kill() // it is thrown away
	restored, err := s.Restore(ctx, server.Server, RestoreOptions{Name: b.Name, Spool: folder})
	if err != nil {
		return Restored{Backup: b}, err
	}
	if !restored.Whole {
		return restored, fmt.Errorf("a part of the binary logs behind it is missing, so that it comes back until %s and not further: take a backup now", restored.Last.UTC().Format(time.RFC3339))
	}
	return restored, o.Look(ctx, server.Server, restored)
}
