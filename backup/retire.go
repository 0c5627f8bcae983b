package backup

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// unfinishedAfter is how old something must be that looks broken off before it is deleted.
const unfinishedAfter = 24 * time.Hour

// Retire deletes backups that are older than keep, but for the newest and the newest that a restore test has found good, and the
// binary logs that no backup needs any more. Ages are by the clock of the bucket and count from its newest backup, so that a wrong clock
// here deletes nothing. It returns the names of the backups that are gone.
func (s *Store) Retire(ctx context.Context, keep time.Duration) ([]string, error) {
	if keep < time.Hour {
		return nil, errors.New("backups are kept for an hour at least")
	}
	backups, err := s.List(ctx)
	if err != nil || len(backups) == 0 {
		return nil, err
	}
	good := newestGood(backups)
	newest := backups[0].Taken
	for _, b := range backups {
		newest = later(newest, b.Taken)
	}
	var kept []Backup
	var retired []string
	for i, b := range backups {
		if i == 0 || b.Name == good.Name || newest.Sub(b.Taken) <= keep {
			kept = append(kept, b)
			continue
		}
		// Its description first: without it the backup is none.
		for _, name := range []string{b.manifest(), b.record(), b.object()} {
			if err := s.bucket.remove(ctx, name); err != nil {
				return retired, err
			}
		}
		retired = append(retired, b.Name)
	}
	return retired, errors.Join(s.sweep(ctx, newest), s.retireLogs(ctx, kept, newest.Add(-keep)))
}

// sweep deletes what broken backups have left behind.
func (s *Store) sweep(ctx context.Context, newest time.Time) error {
	objects, err := s.bucket.list(ctx, dumpsFolder)
	if err != nil {
		return err
	}
	for _, o := range objects {
		name, ok := strings.CutSuffix(path.Base(o.name), dumpSuffix)
		if !ok {
			name, ok = strings.CutSuffix(path.Base(o.name), recordSuffix)
		}
		described := slices.ContainsFunc(objects, func(other object) bool { return other.name == (Backup{Name: name}).manifest() })
		if ok && !described && newest.Sub(o.modified) > unfinishedAfter {
			if err := s.bucket.remove(ctx, o.name); err != nil {
				return err
			}
		}
	}
	return s.bucket.removeUnfinished(ctx, newest.Add(-unfinishedAfter))
}

// retireLogs deletes binary logs that were shipped before a time and belong behind no backup that is kept. The newest history
// stays as long as it is the newest.
func (s *Store) retireLogs(ctx context.Context, kept []Backup, before time.Time) error {
	all, err := s.histories(ctx)
	if err != nil {
		return err
	}
	for i, h := range all {
		from := len(h.logs) // the first that is needed
		if i == len(all)-1 {
			from-- // where shipping goes on
		}
		for _, b := range kept {
			if b.Position == nil {
				continue
			}
			if j := slices.IndexFunc(h.logs, func(l shippedLog) bool { return l.file == b.Position.File && l.id == b.Position.ID }); j >= 0 {
				from = min(from, j)
			}
		}
		for _, l := range h.logs[:from] {
			if !l.written.Before(before) {
				continue
			}
			for _, name := range l.objects {
				if err := s.bucket.remove(ctx, name); err != nil {
					return fmt.Errorf("retire the binary log %s: %w", l.file, err)
				}
			}
		}
	}
	return nil
}
