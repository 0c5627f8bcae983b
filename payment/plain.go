package payment

import (
	"context"
	"net/http"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

// neighbourTimeout bounds a call whose answer only decorates ours.
const neighbourTimeout = 2 * time.Second

func (s *Service) listPayments(w http.ResponseWriter, r *http.Request) error {
	page, err := web.ReadPage(r, "payment_id", map[string]string{"paymentId": "payment_id", "orderId": "order_id",
		"isPayed": "is_payed", "paymentStatus": "payment_status", "state": "state", "amount": "amount"})
	if err != nil {
		return err
	}
	var filters []filter
	for _, f := range []struct{ parameter, column string }{{"ids", "payment_id"}, {"orderId", "order_id"}, {"orderIds", "order_id"}} {
		ids, given, err := web.QueryIDs(r, f.parameter)
		if err != nil {
			return err
		}
		if given {
			filters = append(filters, filter{f.column, ids})
		}
	}
	ctx := r.Context()
	clause, args := where(auth.CallerOf(ctx), filters)
	total, err := sqldb.Count(ctx, s.db, web.ExactTotal, `SELECT payment_id FROM payments WHERE `+clause, args...)
	if err != nil {
		return err
	}
	after, behind := page.Condition()
	rows, err := sqldb.All(ctx, s.db, scanRecord, `SELECT `+recordColumns+` FROM payments WHERE `+clause+after+page.Tail(), append(args, behind...)...)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, web.Rows(page, s.withOrders(ctx, rows), total, func(p api.Payment) api.ID { return p.PaymentID }))
}

func (s *Service) getPayment(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "paymentId")
	if err != nil {
		return err
	}
	row, err := visibleRecord(r.Context(), s.db, auth.CallerOf(r.Context()), id)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, s.withOrders(r.Context(), []record{row})[0])
}

// withOrders shows the orders that payments are for, asking once for all of them. Orders that cannot be
// had stay bare ids.
func (s *Service) withOrders(ctx context.Context, rows []record) []api.Payment {
	orders := map[api.ID]api.Order{}
	var ids []api.ID
	for _, row := range rows {
		if _, ok := orders[row.orderID]; !ok {
			orders[row.orderID] = api.Order{OrderID: row.orderID}
			ids = append(ids, row.orderID)
		}
	}
	if len(ids) > 0 {
		ctx, cancel := context.WithTimeout(ctx, neighbourTimeout)
		defer cancel()
		known, err := s.orders.Orders(ctx, ids)
		if err != nil {
			s.log.DebugContext(ctx, "payments shown without their orders", "err", err)
		}
		for _, order := range known {
			orders[order.OrderID] = api.Order{OrderID: order.OrderID, OrderDate: order.OrderDate, OrderDesc: order.OrderDesc, OrderFee: order.OrderFee}
		}
	}
	payments := make([]api.Payment, len(rows))
	for i, row := range rows {
		payments[i] = row.wire(s.currency, orders[row.orderID])
	}
	return payments
}

// savePayment is POST and PUT alike: the row that the body names is updated, else one is created.
func (s *Service) savePayment(w http.ResponseWriter, r *http.Request) error {
	in, err := web.Read[api.Payment](w, r)
	if err != nil {
		return err
	}
	row := record{id: in.PaymentID, paid: flag(in.IsPayed), status: text(in.PaymentStatus)}
	if in.PaymentStatus != nil {
		switch *in.PaymentStatus {
		case api.PaymentNotStarted, api.PaymentInProgress, api.PaymentCompleted:
		default:
			return api.Invalid(api.FieldError{Field: "paymentStatus", Reason: "must be NOT_STARTED, IN_PROGRESS or COMPLETED"})
		}
	}
	if in.Order != nil {
		row.orderID = in.Order.OrderID
	}
	if row.orderID < 0 {
		return api.Invalid(api.FieldError{Field: "order.orderId", Reason: "must be positive"})
	}
	ctx := r.Context()
	exists := false
	if row.id != 0 {
		_, err := visibleRecord(ctx, s.db, auth.CallerOf(ctx), row.id)
		if err != nil && !api.IsStatus(err, http.StatusNotFound) {
			return err
		}
		exists = err == nil
	}
	if !exists && row.orderID == 0 {
		return api.Invalid(api.FieldError{Field: "order.orderId", Reason: `is needed: "order":{"orderId":1}`})
	}
	if row.orderID != 0 {
		row.userID = s.ownerOf(ctx, row.orderID)
	}
	now, status, change := s.now(), http.StatusOK, "UPDATED"
	if !exists {
		status, change = http.StatusCreated, "CREATED"
	}
	var saved record
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		id := row.id
		if exists {
			ok, err := updatePlain(ctx, tx, row, now)
			if err == nil && !ok {
				err = unchangeable(ctx, tx, id)
			}
			if err != nil {
				return err
			}
		} else {
			var err error
			if id, err = insertRecord(ctx, tx, row, time.Time{}, now); err != nil {
				return err
			}
		}
		var err error
		if saved, err = recordByID(ctx, tx, id); err != nil {
			return err
		}
		return journal.Append(ctx, tx, "payment", id, change, map[string]any{"orderId": saved.orderID}, now)
	})
	if err != nil {
		return err
	}
	if status == http.StatusCreated {
		w.Header().Set("Location", location(saved.id))
	}
	return web.JSON(w, status, saved.wire(s.currency, api.Order{OrderID: saved.orderID}))
}

func location(id api.ID) string { return "/payment-service/api/payments/" + id.String() }

// ownerOf is whose order it is, or 0 when that cannot be learned: the payment is then for
// administrators to see. A payment is recorded whether or not its order can be found.
func (s *Service) ownerOf(ctx context.Context, order api.ID) api.ID {
	ctx, cancel := context.WithTimeout(ctx, neighbourTimeout)
	defer cancel()
	found, err := s.orders.Order(ctx, order)
	if err != nil {
		s.log.DebugContext(ctx, "payment without a known owner", "order", order, "err", err)
		return 0
	}
	return found.UserID
}

func (s *Service) deletePayment(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "paymentId")
	if err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		ok, err := deletePlain(ctx, tx, id)
		if err != nil {
			return err
		}
		if !ok {
			return unchangeable(ctx, tx, id)
		}
		return journal.Append(ctx, tx, "payment", id, "DELETED", nil, now)
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}

// unchangeable says why no plain row has the id: there is none, or it is one that holds money.
func unchangeable(ctx context.Context, tx *sqldb.Tx, id api.ID) error {
	row, err := recordByID(ctx, tx, id)
	if err != nil {
		return err
	}
	if row.state == pending {
		return notFound(id)
	}
	return api.Conflict("payment %d holds money: it is changed by capture, void and refund only", id)
}

func (s *Service) ledger(w http.ResponseWriter, r *http.Request) error {
	page, err := web.ReadPage(r, "posting_id", map[string]string{})
	if err != nil {
		return err
	}
	order, err := web.QueryID(r, "orderId")
	if err != nil {
		return err
	}
	postings, err := ledger(r.Context(), s.db, s.currency, order, page.Tail())
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, postings)
}
