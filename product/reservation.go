package product

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tienda/api"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

// Every change of a reservation that exists locks its row first and then the rows of its products in
// the order of their ids, so that two of them never wait for each other.

func (s *Service) reserve(w http.ResponseWriter, r *http.Request) error {
	request, err := web.Read[api.NewReservation](w, r)
	if err != nil {
		return err
	}
	if err := request.Validate(); err != nil {
		return err
	}
	slices.SortFunc(request.Items, func(a, b api.ItemQuantity) int { return cmp.Compare(a.ProductID, b.ProductID) })
	ctx := r.Context()
	var reservation api.Reservation
	status := http.StatusCreated
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		var err error
		reservation, err = s.hold(ctx, tx, request)
		return err
	})
	if errors.Is(err, sqldb.ErrConflict) {
		status = http.StatusOK
		err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
			var err error
			reservation, err = s.holdAgain(ctx, tx, request)
			return err
		})
	}
	if err != nil {
		return err
	}
	return web.JSON(w, status, reservation)
}

// hold makes the reservation of an order; one that is there already is [sqldb.ErrConflict].
func (s *Service) hold(ctx context.Context, tx *sqldb.Tx, request api.NewReservation) (api.Reservation, error) {
	reservation := api.Reservation{OrderID: request.OrderID, State: api.ReservationHeld, Items: request.Items, ExpiresAt: s.expiry()}
	// Stock before the row: requests for one order that come at once queue for its products. Queuing for
	// the row they would deadlock on MySQL each time that the first of them is short and rolls back.
	if err := s.take(ctx, tx, reservation.Items); err != nil {
		// What is missing may be what a first request of this very order took.
		return reservation, cmp.Or(noReservation(ctx, tx, request.OrderID), err)
	}
	if err := s.insertReservation(ctx, tx, reservation); err != nil {
		return reservation, err
	}
	return reservation, s.announce(ctx, tx, reservation)
}

// noReservation is [sqldb.ErrConflict] when an order has a reservation.
func noReservation(ctx context.Context, tx *sqldb.Tx, order api.ID) error {
	err := tx.QueryRow(ctx, `SELECT state FROM reservations WHERE order_id = ?`, order).Scan(new(string))
	switch {
	case err == nil:
		return sqldb.ErrConflict
	case errors.Is(err, sqldb.ErrNotFound):
		return nil
	}
	return fmt.Errorf("read the reservation of order %d: %w", order, err)
}

// holdAgain answers a repeated request with the reservation there is. One that expired is held anew.
func (s *Service) holdAgain(ctx context.Context, tx *sqldb.Tx, request api.NewReservation) (api.Reservation, error) {
	reservation, err := lockReservation(ctx, tx, request.OrderID)
	if err != nil {
		return reservation, fmt.Errorf("reservation of order %d: %w", request.OrderID, err)
	}
	switch reservation.State {
	case api.ReservationReleased, api.ReservationReturned:
		return reservation, wrongState(reservation)
	}
	if !slices.Equal(reservation.Items, request.Items) {
		return reservation, api.Conflict("order %d has reserved other items", request.OrderID)
	}
	if reservation.State != api.ReservationExpired {
		return reservation, nil
	}
	reservation.ExpiresAt = s.expiry()
	if err := s.advance(ctx, tx, &reservation, api.ReservationHeld); err != nil {
		return reservation, err
	}
	return reservation, s.take(ctx, tx, reservation.Items)
}

func (s *Service) expiry() time.Time {
	return s.now().UTC().Add(s.settings.ReservationLife).Truncate(time.Microsecond)
}

func (s *Service) commit(w http.ResponseWriter, r *http.Request) error {
	return s.change(w, r, func(ctx context.Context, tx *sqldb.Tx, order api.ID) (api.Reservation, error) {
		reservation, err := lockReservation(ctx, tx, order)
		if errors.Is(err, sqldb.ErrNotFound) {
			return reservation, api.NotFound("Reservation of order with id: %d not found", order)
		}
		if err != nil {
			return reservation, err
		}
		switch reservation.State {
		case api.ReservationCommitted:
			return reservation, nil
		case api.ReservationExpired:
			if err := s.take(ctx, tx, reservation.Items); err != nil {
				return reservation, err
			}
		case api.ReservationHeld:
		default:
			return reservation, wrongState(reservation)
		}
		if err := s.advance(ctx, tx, &reservation, api.ReservationCommitted); err != nil {
			return reservation, err
		}
		return reservation, s.sell(ctx, tx, reservation)
	})
}

func (s *Service) release(w http.ResponseWriter, r *http.Request) error {
	return s.change(w, r, func(ctx context.Context, tx *sqldb.Tx, order api.ID) (api.Reservation, error) {
		reservation, err := lockReservation(ctx, tx, order)
		if errors.Is(err, sqldb.ErrNotFound) {
			// Remembered, so that a request to reserve that is still on its way comes too late.
			reservation = api.Reservation{OrderID: order, State: api.ReservationReleased, Items: []api.ItemQuantity{},
				ExpiresAt: s.now().UTC().Truncate(time.Microsecond)}
			if err := s.insertReservation(ctx, tx, reservation); err != nil {
				return reservation, err
			}
			return reservation, s.announce(ctx, tx, reservation)
		}
		if err != nil {
			return reservation, err
		}
		switch reservation.State {
		case api.ReservationHeld:
			if err := s.advance(ctx, tx, &reservation, api.ReservationReleased); err != nil {
				return reservation, err
			}
			return reservation, s.giveBack(ctx, tx, reservation)
		case api.ReservationCommitted:
			if err := s.advance(ctx, tx, &reservation, api.ReservationReturned); err != nil {
				return reservation, err
			}
			return reservation, s.takeBack(ctx, tx, reservation)
		case api.ReservationExpired:
			return reservation, s.advance(ctx, tx, &reservation, api.ReservationReleased)
		}
		return reservation, nil
	})
}

// change runs one change of the reservation that the path names and answers with what came of it.
func (s *Service) change(w http.ResponseWriter, r *http.Request,
	do func(ctx context.Context, tx *sqldb.Tx, order api.ID) (api.Reservation, error)) error {
	order, err := web.PathID(r, "orderId")
	if err != nil {
		return err
	}
	ctx := r.Context()
	var reservation api.Reservation
	run := func() error {
		return s.db.Tx(ctx, func(tx *sqldb.Tx) error {
			var err error
			reservation, err = do(ctx, tx, order)
			return err
		})
	}
	err = run()
	if errors.Is(err, sqldb.ErrConflict) {
		err = run() // the order's first reservation was made meanwhile; now it is there to be found
	}
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, reservation)
}

func wrongState(reservation api.Reservation) error {
	return api.Conflict("the reservation of order %d is %s", reservation.OrderID, reservation.State)
}

// insertReservation writes a reservation and its items; one of the same order makes the transaction
// [sqldb.ErrConflict].
func (s *Service) insertReservation(ctx context.Context, tx *sqldb.Tx, reservation api.Reservation) error {
	now := sqldb.Instant(s.now())
	err := tx.Later(ctx, `INSERT INTO reservations (order_id, state, expires_at, created_at, updated_at) VALUES (?, ?, ?, ?, ?)`,
		reservation.OrderID, reservation.State, sqldb.Instant(reservation.ExpiresAt), now, now)
	if err != nil {
		return fmt.Errorf("reserve for order %d: %w", reservation.OrderID, err)
	}
	if len(reservation.Items) == 0 {
		return nil
	}
	args := make([]any, 0, 3*len(reservation.Items))
	for _, item := range reservation.Items {
		args = append(args, reservation.OrderID, item.ProductID, item.Quantity)
	}
	values := strings.TrimSuffix(strings.Repeat("(?, ?, ?), ", len(reservation.Items)), ", ")
	if err := tx.Later(ctx, `INSERT INTO reservation_items (order_id, product_id, quantity) VALUES `+values, args...); err != nil {
		return fmt.Errorf("reserve items for order %d: %w", reservation.OrderID, err)
	}
	return nil
}

// lockReservation reads a reservation, with its items in the order of their ids, and locks it until
// the transaction ends.
func lockReservation(ctx context.Context, tx *sqldb.Tx, order api.ID) (api.Reservation, error) {
	reservation := api.Reservation{OrderID: order, Items: []api.ItemQuantity{}}
	var expiresAt sqldb.Instant
	rows, err := sqldb.LockAll(ctx, tx, func(scan func(...any) error) (item api.ItemQuantity, err error) {
		err = scan(&reservation.State, &expiresAt, &item.ProductID, &item.Quantity)
		return item, err
	}, `SELECT r.state, r.expires_at, COALESCE(i.product_id, 0), COALESCE(i.quantity, 0)
		FROM reservations r LEFT JOIN reservation_items i ON i.order_id = r.order_id WHERE r.order_id = ? ORDER BY i.product_id`, order)
	if err == nil && len(rows) == 0 {
		err = sqldb.ErrNotFound
	}
	if err != nil {
		return reservation, fmt.Errorf("lock the reservation of order %d: %w", order, err)
	}
	reservation.ExpiresAt = time.Time(expiresAt)
	if rows[0].ProductID != 0 { // one that was released before it was made has none
		reservation.Items = rows
	}
	return reservation, nil
}

// advance moves a reservation from the state it was read in to the next.
func (s *Service) advance(ctx context.Context, tx *sqldb.Tx, reservation *api.Reservation, to string) error {
	changed := fmt.Errorf("reservation of order %d is no longer %s though it is locked", reservation.OrderID, reservation.State)
	err := tx.LaterOne(ctx, changed, `UPDATE reservations SET state = ?, expires_at = ?, updated_at = ? WHERE order_id = ? AND state = ?`,
		to, sqldb.Instant(reservation.ExpiresAt), sqldb.Instant(s.now()), reservation.OrderID, reservation.State)
	if err != nil {
		return fmt.Errorf("reservation of order %d to %s: %w", reservation.OrderID, to, err)
	}
	reservation.State = to
	return s.announce(ctx, tx, *reservation)
}

func (s *Service) announce(ctx context.Context, tx *sqldb.Tx, reservation api.Reservation) error {
	return journal.Append(ctx, tx, "reservation", reservation.OrderID, reservation.State, reservation, s.now())
}

// take reserves every item or none: short of stock it is a 409 that names each short product, and the
// transaction is to be rolled back.
func (s *Service) take(ctx context.Context, tx *sqldb.Tx, items []api.ItemQuantity) error {
	var short []api.FieldError
	for _, item := range items {
		n, err := tx.Exec(ctx, `UPDATE products SET reserved = reserved + ?, version = version + 1, updated_at = ?
			WHERE product_id = ? AND on_hand - reserved >= ? AND deleted_at IS NULL`,
			item.Quantity, sqldb.Instant(s.now()), item.ProductID, item.Quantity)
		if err != nil {
			return fmt.Errorf("reserve product %d: %w", item.ProductID, err)
		}
		if n == 0 {
			e, err := shortOf(ctx, tx, item)
			if err != nil {
				return err
			}
			short = append(short, e)
		}
	}
	if len(short) > 0 {
		return outOfStock(short...)
	}
	return nil
}

// sell takes reserved stock off what is on hand. What is available stays as it was.
func (s *Service) sell(ctx context.Context, tx *sqldb.Tx, reservation api.Reservation) error {
	for _, item := range reservation.Items {
		err := s.changeStock(ctx, tx, reservation, item, `UPDATE products SET on_hand = on_hand - ?, reserved = reserved - ?
			WHERE product_id = ? AND reserved >= ?`, item.Quantity, item.Quantity, item.ProductID, item.Quantity)
		if err != nil {
			return err
		}
		sold := api.StockMovement{ProductID: item.ProductID, Quantity: -item.Quantity, Reason: api.MovementSold, OrderID: reservation.OrderID}
		if err := s.record(ctx, tx, &sold); err != nil {
			return err
		}
	}
	return nil
}

// giveBack makes reserved stock available again.
func (s *Service) giveBack(ctx context.Context, tx *sqldb.Tx, reservation api.Reservation) error {
	for _, item := range reservation.Items {
		err := s.changeStock(ctx, tx, reservation, item, `UPDATE products SET reserved = reserved - ?, version = version + 1, updated_at = ?
			WHERE product_id = ? AND reserved >= ?`, item.Quantity, sqldb.Instant(s.now()), item.ProductID, item.Quantity)
		if err != nil {
			return err
		}
	}
	return nil
}

// takeBack puts sold stock on hand again.
func (s *Service) takeBack(ctx context.Context, tx *sqldb.Tx, reservation api.Reservation) error {
	for _, item := range reservation.Items {
		err := s.changeStock(ctx, tx, reservation, item, `UPDATE products SET on_hand = on_hand + ?, version = version + 1, updated_at = ?
			WHERE product_id = ?`, item.Quantity, sqldb.Instant(s.now()), item.ProductID)
		if err != nil {
			return err
		}
		returned := api.StockMovement{ProductID: item.ProductID, Quantity: item.Quantity, Reason: api.MovementReturned, OrderID: reservation.OrderID}
		if err := s.record(ctx, tx, &returned); err != nil {
			return err
		}
	}
	return nil
}

// changeStock runs an update that a reservation has a right to: matching no row would mean that the
// books are wrong.
func (s *Service) changeStock(ctx context.Context, tx *sqldb.Tx, reservation api.Reservation, item api.ItemQuantity, update string, args ...any) error {
	wrong := fmt.Errorf("product %d has less reserved than order %d holds", item.ProductID, reservation.OrderID)
	if err := tx.LaterOne(ctx, wrong, update, args...); err != nil {
		return fmt.Errorf("stock of product %d for order %d: %w", item.ProductID, reservation.OrderID, err)
	}
	return nil
}

// expireAtOnce bounds how many reservations one turn looks at.
const expireAtOnce = 200

// expireReservations gives the stock back that was held for too long.
func (s *Service) expireReservations(ctx context.Context) error {
	now := s.now()
	orders, err := sqldb.All(ctx, s.db, scanID, `SELECT order_id FROM reservations WHERE state = ? AND expires_at <= ? ORDER BY expires_at LIMIT ?`,
		api.ReservationHeld, sqldb.Instant(now), expireAtOnce)
	if err != nil {
		return fmt.Errorf("find expired reservations: %w", err)
	}
	var failed []error
	for _, order := range orders {
		err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
			reservation, err := lockReservation(ctx, tx, order)
			if err != nil {
				return err
			}
			if reservation.State != api.ReservationHeld || reservation.ExpiresAt.After(now) {
				return nil // committed or held anew since
			}
			if err := s.advance(ctx, tx, &reservation, api.ReservationExpired); err != nil {
				return err
			}
			return s.giveBack(ctx, tx, reservation)
		})
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
