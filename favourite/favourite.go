// Package favourite is favourite-service: what users like, since when.
//
// A favourite is nothing but its key of user, product and moment, so that writing it again changes
// nothing. Its tables are favourites and deleted_users. It asks user-service and product-service to fill in
// what it shows, and shows the bare ids when they do not answer; it follows the events of user-service,
// forgets the favourites of users who are deleted, and takes no others of them.
package favourite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations creates the tables of the service; they go together with those of the journal.
var Migrations = sqldb.Migrations{Name: "favourite", Files: files}

// Neighbours are the services that favourite-service calls. *api.Client is one.
type Neighbours interface {
	Users(ctx context.Context, ids []api.ID) ([]api.User, error)
	Products(ctx context.Context, ids []api.ID) ([]api.Product, error)
	Events(ctx context.Context, service string, after int64) ([]api.Event, error)
}

// Service serves the routes of favourite-service. It is safe for concurrent use, and any number of
// replicas may share a database.
type Service struct {
	db         *sqldb.DB
	neighbours Neighbours
	identity   *auth.Identity
	log        *slog.Logger
	now        func() time.Time
}

// New makes the service on a database that holds its [Migrations] and those of the journal. It follows
// events under its identity; everything else it asks on behalf of the caller.
func New(db *sqldb.DB, neighbours Neighbours, identity *auth.Identity, log *slog.Logger, now func() time.Time) *Service {
	return &Service{db: db, neighbours: neighbours, identity: identity, log: log, now: now}
}

// contextPath is what the links in answers begin with.
const contextPath = "/favourite-service"

// Routes is the table of the service. It can be read without a service: s may be nil.
func (s *Service) Routes() []web.Route {
	sample := api.Favourite{UserID: 1, ProductID: 1, LikeDate: api.DateTime{Time: time.Date(2025, time.November, 4, 23, 52, 0, 805_000_000, time.UTC)}}
	const one = "/api/favourites/{userId}/{productId}/{likeDate}"
	return []web.Route{
		{Method: http.MethodGet, Pattern: "/api/favourites", Summary: "List favourites", Access: web.Owner, Origin: true,
			Query: append([]string{"userId?of this user only"}, web.PageQuery...), Out: api.List[api.Favourite]{}, Handler: s.list},
		{Method: http.MethodGet, Pattern: one, Summary: "Read a favourite", Access: web.Owner, Origin: true,
			Out: api.Favourite{}, Handler: s.getByPath},
		{Method: http.MethodGet, Pattern: "/api/favourites/find", Summary: "Read the favourite that the body names", Access: web.Owner, Origin: true,
			In: sample, Out: api.Favourite{}, Handler: s.getByBody},
		{Method: http.MethodPost, Pattern: "/api/favourites", Summary: "Create a favourite", Access: web.Owner, Origin: true,
			In: sample, Out: api.Favourite{}, Status: http.StatusCreated, Handler: s.save},
		{Method: http.MethodPut, Pattern: "/api/favourites", Summary: "Create a favourite that may exist", Access: web.Owner, Origin: true,
			In: sample, Out: api.Favourite{}, Handler: s.save},
		{Method: http.MethodDelete, Pattern: one, Summary: "Delete a favourite", Access: web.Owner, Origin: true,
			Out: true, Handler: s.deleteByPath},
		{Method: http.MethodDelete, Pattern: "/api/favourites/delete", Summary: "Delete the favourite that the body names", Access: web.Owner, Origin: true,
			In: sample, Out: true, Handler: s.deleteByBody},
		journal.EventsRoute(s.events),
	}
}

func (s *Service) events(w http.ResponseWriter, r *http.Request) error {
	return journal.ServeEvents(w, r, s.db, s.now())
}

// How often the events of user-service are looked at, and how long one look may take.
const (
	followEvery = 2 * time.Second
	readAtMost  = 10 * time.Second
)

// Run follows the events of user-service until ctx ends, which is no error.
func (s *Service) Run(ctx context.Context) error {
	return journal.Follow(ctx, s.db, s.usersFeed(), s.log)
}

// usersFeed is the feed of user-service's events. Only one of them matters here: a user was deleted.
func (s *Service) usersFeed() journal.Feed {
	return journal.Feed{
		Name: "user-service",
		Read: func(ctx context.Context, after int64) ([]api.Event, error) {
			ctx, cancel := context.WithTimeout(ctx, readAtMost)
			defer cancel()
			ctx, err := s.identity.Context(ctx)
			if err != nil {
				return nil, err
			}
			return s.neighbours.Events(ctx, "user-service", after)
		},
		Wants: func(event api.Event) bool { return event.Kind == "user" && event.Change == "DELETED" },
		Apply: func(ctx context.Context, tx *sqldb.Tx, event api.Event) error {
			return forget(ctx, tx, event.Subject, s.now())
		},
		Every: followEvery,
	}
}

// forget removes what a deleted user liked and sees to it that nothing is added. For that no isolation level is
// relied on: this notes the user and then looks for favourites, and [Service.save] writes a favourite and then looks
// for the user. Both look with locks, for which a row that is not committed is one to wait for: whoever looks second
// finds what the other wrote, and of two that wait for each other the engine runs one again.
func forget(ctx context.Context, tx *sqldb.Tx, user api.ID, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO deleted_users (user_id, created_at) VALUES (?, ?)`, user, sqldb.Instant(now))
	if err != nil && !errors.Is(err, sqldb.ErrConflict) { // the event may come again
		return fmt.Errorf("note that user %d is deleted: %w", user, err)
	}
	n, err := tx.Exec(ctx, `DELETE FROM favourites WHERE user_id = ?`, user)
	if err != nil || n == 0 {
		return err
	}
	return journal.Append(ctx, tx, "favourite", user, "ANONYMISED", nil, now)
}

// refuseDeleted ends a transaction that has written something for a user who is deleted. The answer is that of
// user-service to whoever writes for a user who does not exist.
func refuseDeleted(ctx context.Context, tx *sqldb.Tx, user api.ID) error {
	var one int
	err := tx.LockRow(ctx, `SELECT 1 FROM deleted_users WHERE user_id = ?`, user).Scan(&one)
	if errors.Is(err, sqldb.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look whether user %d is deleted: %w", user, err)
	}
	return api.Invalid(api.FieldError{Field: "userId", Reason: fmt.Sprintf("names no user: %d has been deleted", user)})
}

func noFavourite(key api.Favourite) error {
	return api.NotFound("Favourite with id: [FavouriteId(userId=%d, productId=%d, likeDate=%s)] not found!",
		key.UserID, key.ProductID, key.LikeDate.UTC().Format("2006-01-02T15:04:05.999999"))
}

// mine is the condition of the rows that the caller may see and change.
func mine(ctx context.Context) (condition string, args []any) {
	caller := auth.CallerOf(ctx)
	if caller.SeesAll() {
		return "1 = 1", nil
	}
	return "user_id = ?", []any{caller.UserID}
}

// stored is a row: the id orders lists and is shown to nobody.
type stored struct {
	id        api.ID
	favourite api.Favourite
}

func scanStored(scan func(...any) error) (stored, error) {
	var row stored
	var likeDate sqldb.Instant
	err := scan(&row.id, &row.favourite.UserID, &row.favourite.ProductID, &likeDate)
	row.favourite.LikeDate = api.DateTime{Time: time.Time(likeDate)}
	return row, err
}

func (s *Service) list(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	page, err := web.ReadPage(r, "favourite_id", map[string]string{"userId": "user_id", "productId": "product_id", "likeDate": "like_date"})
	if err != nil {
		return err
	}
	where, args := mine(ctx)
	user, err := web.QueryID(r, "userId")
	if err != nil {
		return err
	}
	if user != 0 {
		where, args = where+" AND user_id = ?", append(args, user)
	}
	behind, behindArgs := page.Condition()
	rows, err := sqldb.All(ctx, s.db, scanStored, `SELECT favourite_id, user_id, product_id, like_date FROM favourites WHERE `+where+behind+page.Tail(),
		append(args, behindArgs...)...)
	if err != nil {
		return fmt.Errorf("list favourites: %w", err)
	}
	total, err := sqldb.Count(ctx, s.db, web.ExactTotal, `SELECT favourite_id FROM favourites WHERE `+where, args...)
	if err != nil {
		return fmt.Errorf("count favourites: %w", err)
	}
	favourites := make([]api.Favourite, len(rows))
	for i, row := range rows {
		favourites[i] = row.favourite
	}
	s.fillIn(ctx, favourites)
	shown := web.Rows(page, rows, total, func(row stored) api.ID { return row.id }).Page
	return web.JSON(w, http.StatusOK, api.List[api.Favourite]{Collection: favourites, Page: shown})
}

func (s *Service) getByPath(w http.ResponseWriter, r *http.Request) error {
	key, err := pathKey(r)
	if err != nil {
		return err
	}
	return s.get(w, r, key)
}

func (s *Service) getByBody(w http.ResponseWriter, r *http.Request) error {
	key, err := bodyKey(w, r)
	if err != nil {
		return err
	}
	return s.get(w, r, key)
}

func (s *Service) get(w http.ResponseWriter, r *http.Request, key api.Favourite) error {
	ctx := r.Context()
	where, args := mine(ctx)
	row, err := scanStored(s.db.QueryRow(ctx, `SELECT favourite_id, user_id, product_id, like_date FROM favourites WHERE `+where+
		` AND user_id = ? AND product_id = ? AND like_date = ?`, append(args, key.UserID, key.ProductID, sqldb.Instant(key.LikeDate.Time))...).Scan)
	if errors.Is(err, sqldb.ErrNotFound) {
		return noFavourite(key)
	}
	if err != nil {
		return fmt.Errorf("read favourite: %w", err)
	}
	favourites := []api.Favourite{row.favourite}
	s.fillIn(ctx, favourites)
	return web.JSON(w, http.StatusOK, favourites[0])
}

// save writes a favourite that may exist already. Whether user and product exist is not asked, as in
// the original system; users who are deleted are known.
func (s *Service) save(w http.ResponseWriter, r *http.Request) error {
	favourite, err := bodyKey(w, r)
	if err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	if caller := auth.CallerOf(ctx); !caller.SeesAll() && caller.UserID != favourite.UserID {
		return api.Forbidden("favourites of other users are theirs to write: userId must be %d", caller.UserID)
	}
	status := http.StatusCreated
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Insert(ctx, `INSERT INTO favourites (user_id, product_id, like_date, created_at) VALUES (?, ?, ?, ?)`,
			favourite.UserID, favourite.ProductID, sqldb.Instant(favourite.LikeDate.Time), sqldb.Instant(now))
		if err != nil {
			return fmt.Errorf("insert favourite: %w", err)
		}
		if err := refuseDeleted(ctx, tx, favourite.UserID); err != nil {
			return err
		}
		return journal.Append(ctx, tx, "favourite", favourite.UserID, "CREATED", favourite, now)
	})
	if errors.Is(err, sqldb.ErrConflict) {
		status, err = http.StatusOK, nil // it is there, and there is nothing in it to change
	}
	if err != nil {
		return err
	}
	if status == http.StatusCreated {
		w.Header().Set("Location", fmt.Sprintf("%s/api/favourites/%d/%d/%s", contextPath, favourite.UserID, favourite.ProductID, favourite.LikeDate))
	}
	bare(&favourite)
	return web.JSON(w, status, favourite)
}

func (s *Service) deleteByPath(w http.ResponseWriter, r *http.Request) error {
	key, err := pathKey(r)
	if err != nil {
		return err
	}
	return s.remove(w, r, key)
}

func (s *Service) deleteByBody(w http.ResponseWriter, r *http.Request) error {
	key, err := bodyKey(w, r)
	if err != nil {
		return err
	}
	return s.remove(w, r, key)
}

func (s *Service) remove(w http.ResponseWriter, r *http.Request, key api.Favourite) error {
	ctx := r.Context()
	where, args := mine(ctx)
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM favourites WHERE `+where+` AND user_id = ? AND product_id = ? AND like_date = ?`,
			append(args, key.UserID, key.ProductID, sqldb.Instant(key.LikeDate.Time))...)
		if err != nil {
			return fmt.Errorf("delete favourite: %w", err)
		}
		if n == 0 {
			return noFavourite(key)
		}
		return journal.Append(ctx, tx, "favourite", key.UserID, "DELETED", key, s.now())
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}

// bodyKey is the favourite that the body names; what else the body holds does not count.
func bodyKey(w http.ResponseWriter, r *http.Request) (api.Favourite, error) {
	sent, err := web.Read[api.Favourite](w, r)
	if err != nil {
		return sent, err
	}
	return api.Favourite{UserID: sent.UserID, ProductID: sent.ProductID, LikeDate: sent.LikeDate}, sent.Validate()
}

// pathKey is the favourite that the path names. What is no date cannot be a favourite's: 404.
func pathKey(r *http.Request) (api.Favourite, error) {
	var key api.Favourite
	var err error
	if key.UserID, err = web.PathID(r, "userId"); err != nil {
		return key, err
	}
	if key.ProductID, err = web.PathID(r, "productId"); err != nil {
		return key, err
	}
	if key.LikeDate, err = api.ParseDateTime(r.PathValue("likeDate")); err != nil {
		return key, api.NotFound("no such favourite: %v", err)
	}
	return key, nil
}
