package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb"
	"tienda/web"
)

// Append writes an event in the transaction of the change it tells of. data is what else readers
// need, as JSON, or nil; never secrets.
func Append(ctx context.Context, tx *sqldb.Tx, kind string, subject api.ID, change string, data any, now time.Time) error {
	text := []byte{}
	if data != nil {
		var err error
		if text, err = json.Marshal(data); err != nil {
			return fmt.Errorf("event of %s %d: %w", kind, subject, err)
		}
	}
	err := tx.Later(ctx, `INSERT INTO events (kind, subject, happened, actor, happened_at, data) VALUES (?, ?, ?, ?, ?, ?)`,
		kind, int64(subject), change, auth.CallerOf(ctx).String(), sqldb.Instant(now), string(text))
	if err != nil {
		return fmt.Errorf("event of %s %d: %w", kind, subject, err)
	}
	return nil
}

// Numbers are given at insert and seen at commit, so a transaction that commits late puts a smaller
// number behind a larger one. A reader must not pass that by: an event stays hidden until it is settled,
// and one behind a missing number for longer, since whoever holds the number may wait for a lock (a lock
// wait ends after five seconds, see sqldb). Numbers of transactions that were rolled back never come.
const (
	settled          = 2 * time.Second
	settledBehindGap = 12 * time.Second
)

// pageOfEvents is how many events one answer holds.
const pageOfEvents = 500

// EventsRoute is the feed of a service's events: GET /api/events?after=SEQ. The handler is the service's
// own, which calls [ServeEvents]: tables of routes can be read without a database.
func EventsRoute(handler web.Handler) web.Route {
	return web.Route{
		Method: http.MethodGet, Pattern: "/api/events", Summary: "Read the events of this service, in order",
		Access: web.AdminOrService, Query: []string{"after?seq of the last event that you have; 0 for all", "limit?at most 500"},
		Out: api.List[api.Event]{}, Handler: handler,
	}
}

// ServeEvents answers with the events behind the one that the caller has.
func ServeEvents(w http.ResponseWriter, r *http.Request, db *sqldb.DB, now time.Time) error {
	after, limit := int64(0), pageOfEvents
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			return api.BadRequest("parameter after: a number from 0 is wanted")
		}
	}
	if text := r.URL.Query().Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > pageOfEvents {
			return api.BadRequest("parameter limit: a number from 1 to %d is wanted", pageOfEvents)
		}
	}
	events, err := readEvents(r.Context(), db, after, limit, now.Add(-settled))
	if err != nil {
		return err
	}
	events = beforeYoungGap(events, after, now.Add(-settledBehindGap))
	return web.JSON(w, http.StatusOK, api.List[api.Event]{Collection: events})
}

// beforeYoungGap are the events up to the first missing number that may still come.
func beforeYoungGap(events []api.Event, after int64, until time.Time) []api.Event {
	for i, event := range events {
		if event.Seq != after+1 && event.At.After(until) {
			return events[:i]
		}
		after = event.Seq
	}
	return events
}

func readEvents(ctx context.Context, db *sqldb.DB, after int64, limit int, until time.Time) ([]api.Event, error) {
	return sqldb.All(ctx, db, func(scan func(...any) error) (api.Event, error) {
		var (
			event   api.Event
			at      sqldb.Instant
			subject int64
			data    string
		)
		err := scan(&event.Seq, &event.Kind, &subject, &event.Change, &event.Actor, &at, &data)
		event.Subject, event.At = api.ID(subject), time.Time(at)
		if data != "" {
			event.Data = json.RawMessage(data)
		}
		return event, err
	}, `SELECT seq, kind, subject, happened, actor, happened_at, data FROM events
		WHERE seq > ? AND happened_at <= ? ORDER BY seq LIMIT ?`, after, sqldb.Instant(until), limit)
}
