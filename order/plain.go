package order

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb"
	"tienda/web"
)

// The orders of the original system's API: what can be read of every order, and what can be changed
// of those that are CREATED.

var orderSort = map[string]string{"orderId": "order_id", "orderDate": "order_date", "orderFee": "order_fee", "status": "status"}

var statuses = []string{api.OrderCreated, api.OrderPending, api.OrderConfirmed, api.OrderShipped, api.OrderDelivered, api.OrderCancelled, api.OrderRefunded}

func (s *Service) listOrders(w http.ResponseWriter, r *http.Request) error {
	page, err := web.ReadPage(r, "order_id", orderSort)
	if err != nil {
		return err
	}
	where, args, err := ownRows(r, "order_id")
	if err != nil {
		return err
	}
	inStatus := ""
	if status := r.URL.Query().Get("status"); status != "" {
		if !slices.Contains(statuses, status) {
			return api.Invalid(api.FieldError{Field: "status", Reason: "must be one of " + strings.Join(statuses, ", ")})
		}
		inStatus = " AND status = ?"
		args = append(args, status)
	}
	ctx := r.Context()
	total, err := s.totals.Count(ctx, s.db, s.now(), web.ExactTotal, `SELECT 1 FROM orders WHERE `+where+inStatus, args...)
	if err != nil {
		return fmt.Errorf("count orders: %w", err)
	}
	if inStatus != "" && total > web.ExactTotal && !page.SortsBy("order_id") && !page.SortsBy("status") {
		// So many are soon met along the order of the page. By the index of their status all would be read and sorted.
		inStatus = " AND COALESCE(status, '') = ?"
	}
	behind, cursor := page.Condition()
	rows, err := sqldb.All(ctx, s.db, scanOrder, `SELECT `+orderColumns+` FROM orders WHERE `+where+inStatus+behind+page.Tail(), append(args, cursor...)...)
	if err != nil {
		return fmt.Errorf("list orders: %w", err)
	}
	orders := make([]api.Order, len(rows))
	for i, o := range rows {
		orders[i] = s.orderView(o)
	}
	return web.JSON(w, http.StatusOK, web.Rows(page, orders, total, func(o api.Order) api.ID { return o.OrderID }))
}

// ownRows is the condition for the rows that the caller may see and asked for by userId and ids.
func ownRows(r *http.Request, idColumn string) (where string, args []any, err error) {
	where = "1 = 1"
	if caller := auth.CallerOf(r.Context()); !caller.SeesAll() {
		where += " AND user_id = ?"
		args = append(args, int64(caller.UserID))
	}
	user, err := web.QueryID(r, "userId")
	if err != nil {
		return "", nil, err
	}
	if user != 0 {
		where += " AND user_id = ?"
		args = append(args, int64(user))
	}
	ids, given, err := web.QueryIDs(r, "ids")
	switch {
	case err != nil:
		return "", nil, err
	case given && len(ids) == 0:
		where += " AND 1 = 0"
	case given:
		where += " AND " + idColumn + " IN (" + sqldb.In(len(ids)) + ")"
		for _, id := range ids {
			args = append(args, int64(id))
		}
	}
	return where, args, nil
}

func (s *Service) getOrder(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "orderId")
	if err != nil {
		return err
	}
	o, err := orderByID(r.Context(), s.db, auth.CallerOf(r.Context()), id)
	if err != nil {
		return err
	}
	lines, err := linesOf(r.Context(), s.db, o.id)
	if err != nil {
		return fmt.Errorf("lines of order %d: %w", o.id, err)
	}
	answer, err := s.fullOrder(r.Context(), s.db, o, lines)
	if err != nil {
		return err
	}
	web.SetETag(w, o.version)
	return web.JSON(w, http.StatusOK, answer)
}

func (s *Service) postOrder(w http.ResponseWriter, r *http.Request) error {
	in, err := web.Read[api.Order](w, r)
	if err != nil {
		return err
	}
	if in.OrderID != 0 {
		found, err := s.updateOrder(w, r, in.OrderID, in)
		if !api.IsStatus(err, http.StatusNotFound) {
			return err
		}
		if found {
			return api.Conflict("order %d is not yours to change", in.OrderID)
		}
	}
	return s.createOrder(w, r, in)
}

func (s *Service) putOrder(w http.ResponseWriter, r *http.Request) error {
	in, err := web.Read[api.Order](w, r)
	if err != nil {
		return err
	}
	if in.OrderID == 0 {
		return s.createOrder(w, r, in)
	}
	_, err = s.updateOrder(w, r, in.OrderID, in)
	return err
}

func (s *Service) putOrderByID(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "orderId")
	if err != nil {
		return err
	}
	in, err := web.Read[api.Order](w, r)
	if err != nil {
		return err
	}
	_, err = s.updateOrder(w, r, id, in)
	return err
}

func (s *Service) createOrder(w http.ResponseWriter, r *http.Request, in api.Order) error {
	o := record{status: api.OrderCreated, date: s.now(), currency: s.currency.Code}
	if err := s.applyPlain(&o, in); err != nil {
		return err
	}
	if o.cartID == 0 {
		return api.Invalid(api.FieldError{Field: "cart.cartId", Reason: "must name a cart"})
	}
	ctx := r.Context()
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		var err error
		if o.userID, err = ownerOfCart(ctx, tx, o.cartID); err != nil {
			return err
		}
		return insertOrder(ctx, tx, &o, "", s.now())
	})
	if err != nil {
		return err
	}
	web.SetETag(w, o.version)
	w.Header().Set("Location", location(o.id))
	return web.JSON(w, http.StatusCreated, s.orderView(o))
}

// location is where an order is found.
func location(id api.ID) string { return "/order-service/api/orders/" + id.String() }

// updateOrder changes a CREATED order. found tells a POST whether an id that is not the caller's is
// somebody else's.
func (s *Service) updateOrder(w http.ResponseWriter, r *http.Request, id api.ID, in api.Order) (found bool, err error) {
	ctx, caller := r.Context(), auth.CallerOf(r.Context())
	var o record
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		var err error
		if _, err = lockOrder(ctx, tx, everyone(), id); err != nil {
			return err
		}
		found = true
		if o, err = orderByID(ctx, tx, caller, id); err != nil {
			return err
		}
		if version, ok := web.IfMatch(r); ok && version != o.version {
			return web.Stale(o.version)
		}
		if o.status != api.OrderCreated {
			return api.Conflict("order %d is %s and can no longer be edited", id, o.status)
		}
		if err := s.applyPlain(&o, in); err != nil {
			return err
		}
		if o.userID, err = ownerOfCart(ctx, tx, o.cartID); err != nil {
			return err
		}
		return updatePlainOrder(ctx, tx, o, s.now())
	})
	if err != nil {
		return found, err
	}
	o.version++
	web.SetETag(w, o.version)
	return true, web.JSON(w, http.StatusOK, s.orderView(o))
}

// ownerOfCart locks the cart that a plain order is for and returns whose it is: nobody's who is deleted.
func ownerOfCart(ctx context.Context, tx *sqldb.Tx, id api.ID) (api.ID, error) {
	c, err := lockCart(ctx, tx, auth.CallerOf(ctx), id)
	if api.IsStatus(err, http.StatusNotFound) {
		return 0, api.Invalid(api.FieldError{Field: "cart.cartId", Reason: fmt.Sprintf("names no cart: %d", id)})
	}
	if err != nil {
		return 0, err
	}
	return c.userID, refuseDeleted(ctx, tx, c.userID)
}

// applyPlain sets the fields of an order that are given.
func (s *Service) applyPlain(o *record, in api.Order) error {
	problems := api.CheckProse("orderDesc", in.OrderDesc, 255)
	if in.OrderDesc != nil {
		o.desc = in.OrderDesc
	}
	if !in.OrderDate.IsZero() {
		o.date = in.OrderDate.Time
	}
	if in.OrderFee != nil {
		fee, err := s.currency.Minor(*in.OrderFee)
		switch {
		case err != nil:
			problems = append(problems, api.FieldError{Field: "orderFee", Reason: err.Error()})
		case fee < 0:
			problems = append(problems, api.FieldError{Field: "orderFee", Reason: "must not be negative"})
		}
		o.fee = &fee
	}
	if in.Cart != nil && in.Cart.CartID != 0 {
		o.cartID = in.Cart.CartID
	}
	return api.Valid(problems)
}

func (s *Service) deleteOrder(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "orderId")
	if err != nil {
		return err
	}
	ctx := r.Context()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		o, err := lockOrder(ctx, tx, auth.CallerOf(ctx), id)
		if err != nil {
			return err
		}
		if o.status != api.OrderCreated {
			return api.Conflict("order %d is %s and stays", id, o.status)
		}
		return deletePlainOrder(ctx, tx, o, s.now())
	})
	if errors.Is(err, sqldb.ErrReference) {
		return api.Conflict("order %d is still referred to", id)
	}
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}
