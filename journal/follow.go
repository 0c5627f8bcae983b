package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tienda/api"
	"tienda/sqldb"
)

// Feed is another service's events as one service follows them.
type Feed struct {
	Name string // of the service whose events these are; the position is kept under it
	// Read returns the events behind a position, in order; it calls as the component itself.
	Read func(ctx context.Context, after int64) ([]api.Event, error)
	// Wants tells the events that Apply is for; the others are passed by, many in one transaction.
	Wants func(event api.Event) bool
	// Apply takes one event in, in the transaction that moves the position on: each event takes
	// effect once, whatever dies when.
	Apply func(ctx context.Context, tx *sqldb.Tx, event api.Event) error
	// Every is how often to look when there was nothing new.
	Every time.Duration
}

// Follow reads a feed until ctx ends, which is no error. A feed that cannot be read is tried again.
func Follow(ctx context.Context, db *sqldb.DB, feed Feed, log *slog.Logger) error {
	failures := 0 // one after the other
	for {
		n, err := FollowOnce(ctx, db, feed)
		switch {
		case err == nil:
			failures = 0
		case ctx.Err() == nil:
			// The first says no more than that a shop is opened or closed, one component after the other.
			if failures++; failures == 2 {
				log.WarnContext(ctx, "cannot follow events, trying again", "feed", feed.Name, "err", err)
			}
		}
		if n > 0 && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(feed.Every):
		}
	}
}

// FollowOnce takes in the events that are there now and returns how many.
func FollowOnce(ctx context.Context, db *sqldb.DB, feed Feed) (int, error) {
	var after int64
	err := db.QueryRow(ctx, `SELECT seq FROM feed_positions WHERE feed = ?`, feed.Name).Scan(&after)
	if errors.Is(err, sqldb.ErrNotFound) {
		err = db.Tx(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO feed_positions (feed, seq) VALUES (?, 0)`, feed.Name)
			return err
		})
		if errors.Is(err, sqldb.ErrConflict) {
			err = nil // another replica did
		}
	}
	if err != nil {
		return 0, fmt.Errorf("position in the events of %s: %w", feed.Name, err)
	}
	events, err := feed.Read(ctx, after)
	if err != nil {
		return 0, fmt.Errorf("events of %s: %w", feed.Name, err)
	}
	for i, event := range events {
		wanted := feed.Wants(event)
		if !wanted && i < len(events)-1 {
			continue
		}
		err := db.Tx(ctx, func(tx *sqldb.Tx) error {
			moved, err := tx.Exec(ctx, `UPDATE feed_positions SET seq = ? WHERE feed = ? AND seq = ?`, event.Seq, feed.Name, after)
			if err != nil {
				return err
			}
			if moved == 0 {
				return errMoved
			}
			if !wanted {
				return nil
			}
			return feed.Apply(ctx, tx, event)
		})
		if errors.Is(err, errMoved) {
			return len(events), nil // another replica is at it; look again from where it is
		}
		if err != nil {
			return 0, fmt.Errorf("event %d of %s: %w", event.Seq, feed.Name, err)
		}
		after = event.Seq
	}
	return len(events), nil
}

var errMoved = errors.New("another replica took this event")
