package order

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb"
	"tienda/web"
)

var cartSort = map[string]string{"cartId": "cart_id", "userId": "user_id"}

func (s *Service) listCarts(w http.ResponseWriter, r *http.Request) error {
	page, err := web.ReadPage(r, "cart_id", cartSort)
	if err != nil {
		return err
	}
	where, args, err := ownRows(r, "cart_id")
	if err != nil {
		return err
	}
	ctx := r.Context()
	total, err := sqldb.Count(ctx, s.db, web.ExactTotal, `SELECT 1 FROM carts WHERE `+where, args...)
	if err != nil {
		return fmt.Errorf("count carts: %w", err)
	}
	behind, cursor := page.Condition()
	rows, err := sqldb.All(ctx, s.db, scanCart, `SELECT `+cartColumns+` FROM carts WHERE `+where+behind+page.Tail(), append(args, cursor...)...)
	if err != nil {
		return fmt.Errorf("list carts: %w", err)
	}
	carts := make([]api.Cart, len(rows))
	for i, c := range rows {
		carts[i] = plainCart(c)
	}
	s.nameUsers(ctx, carts)
	return web.JSON(w, http.StatusOK, web.Rows(page, carts, total, func(c api.Cart) api.ID { return c.CartID }))
}

// plainCart is a cart with its user unresolved and without its items.
func plainCart(c cart) api.Cart {
	return api.Cart{CartID: c.id, UserID: c.userID, User: &api.User{UserID: c.userID}, State: c.state}
}

// nameUsers resolves the users of carts in one call. Those that user-service does not show, or all of
// them when it is away, stay as they are.
func (s *Service) nameUsers(ctx context.Context, carts []api.Cart) {
	var ids []api.ID
	seen := map[api.ID]bool{0: true}
	for _, c := range carts {
		if !seen[c.UserID] {
			seen[c.UserID] = true
			ids = append(ids, c.UserID)
		}
	}
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	users, err := s.users.Users(ctx, ids)
	if err != nil {
		s.log.WarnContext(ctx, "carts are shown without their users", "err", err)
		return
	}
	byID := map[api.ID]api.User{}
	for _, u := range users {
		u.Credential, u.Addresses = nil, nil
		byID[u.UserID] = u
	}
	for i := range carts {
		if u, ok := byID[carts[i].UserID]; ok {
			carts[i].User = &u
		}
	}
}

func (s *Service) getCart(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "cartId")
	if err != nil {
		return err
	}
	c, err := cartByID(r.Context(), s.db, auth.CallerOf(r.Context()), id)
	if err != nil {
		return err
	}
	return s.answerCart(w, r, c)
}

func (s *Service) myCart(w http.ResponseWriter, r *http.Request) error {
	ctx, user := r.Context(), auth.CallerOf(r.Context()).UserID
	c, err := myCartRow(ctx, s.db, user)
	if errors.Is(err, sqldb.ErrNotFound) {
		err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
			var err error
			c, err = insertCart(ctx, tx, user, true, s.now())
			return err
		})
		if errors.Is(err, sqldb.ErrConflict) {
			c, err = myCartRow(ctx, s.db, user) // another request of the user made it
		}
	}
	if err != nil {
		return fmt.Errorf("cart of user %d: %w", user, err)
	}
	return s.answerCart(w, r, c)
}

// answerCart shows a cart with its items and its user.
func (s *Service) answerCart(w http.ResponseWriter, r *http.Request, c cart) error {
	ctx := r.Context()
	items, err := itemsOf(ctx, s.db, c.id)
	if err != nil {
		return fmt.Errorf("items of cart %d: %w", c.id, err)
	}
	if c.state == api.CartOpen && len(items) > 0 {
		if products, err := s.present(ctx, items); err != nil {
			s.log.WarnContext(ctx, "a cart is shown at the prices last seen", "err", err)
		} else if items, err = s.show(ctx, c, items, products); err != nil {
			return err
		}
	}
	carts := []api.Cart{s.cartView(c, items)}
	s.nameUsers(ctx, carts)
	return web.JSON(w, http.StatusOK, carts[0])
}

// cartView is a cart with its items at the prices they hold.
func (s *Service) cartView(c cart, items []item) api.Cart {
	answer := plainCart(c)
	answer.Currency, answer.Items = s.currency.Code, []api.CartItem{}
	subtotal := int64(0)
	for _, i := range items {
		subtotal += i.quantity * i.seenPrice
		answer.Items = append(answer.Items, api.CartItem{
			ProductID: i.productID, ProductTitle: i.title, Quantity: i.quantity,
			UnitPrice: s.currency.Amount(i.seenPrice), LineTotal: s.currency.Amount(i.quantity * i.seenPrice),
		})
	}
	answer.Subtotal = new(s.currency.Amount(subtotal))
	return answer
}

func (s *Service) postCart(w http.ResponseWriter, r *http.Request) error {
	in, err := web.Read[api.Cart](w, r)
	if err != nil {
		return err
	}
	if in.CartID != 0 {
		found, err := s.updateCart(w, r, in.CartID, in)
		if !api.IsStatus(err, http.StatusNotFound) {
			return err
		}
		if found {
			return api.Conflict("cart %d is not yours to change", in.CartID)
		}
	}
	return s.createCart(w, r, in)
}

func (s *Service) putCart(w http.ResponseWriter, r *http.Request) error {
	in, err := web.Read[api.Cart](w, r)
	if err != nil {
		return err
	}
	if in.CartID == 0 {
		return s.createCart(w, r, in)
	}
	_, err = s.updateCart(w, r, in.CartID, in)
	return err
}

func (s *Service) putCartByID(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "cartId")
	if err != nil {
		return err
	}
	in, err := web.Read[api.Cart](w, r)
	if err != nil {
		return err
	}
	_, err = s.updateCart(w, r, id, in)
	return err
}

// cartUser is the user that a cart is written for: the caller, unless they may write for others.
func cartUser(caller auth.Caller, wanted api.ID) (api.ID, error) {
	switch {
	case wanted < 0:
		return 0, api.Invalid(api.FieldError{Field: "userId", Reason: "must be positive"})
	case caller.SeesAll(), wanted == caller.UserID:
		return wanted, nil
	case wanted == 0:
		return caller.UserID, nil
	}
	return 0, api.Forbidden("a cart of another user is not yours to write")
}

func (s *Service) createCart(w http.ResponseWriter, r *http.Request, in api.Cart) error {
	ctx := r.Context()
	user, err := cartUser(auth.CallerOf(ctx), in.UserID)
	if err != nil {
		return err
	}
	var c cart
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		var err error
		c, err = insertCart(ctx, tx, user, false, s.now())
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/order-service/api/carts/"+c.id.String())
	return web.JSON(w, http.StatusCreated, plainCart(c))
}

// updateCart changes whose cart it is. found tells a POST whether an id that is not the caller's is
// somebody else's.
func (s *Service) updateCart(w http.ResponseWriter, r *http.Request, id api.ID, in api.Cart) (found bool, err error) {
	ctx, caller := r.Context(), auth.CallerOf(r.Context())
	var c cart
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		var err error
		if _, err = lockCart(ctx, tx, everyone(), id); err != nil {
			return err
		}
		found = true
		if c, err = cartByID(ctx, tx, caller, id); err != nil {
			return err
		}
		if in.UserID == 0 || in.UserID == c.userID {
			return nil
		}
		user, err := cartUser(caller, in.UserID)
		if err != nil {
			return err
		}
		bought, err := hasCheckedOut(ctx, tx, id)
		if err != nil {
			return err
		}
		if bought || c.state != api.CartOpen {
			return api.Conflict("cart %d has been checked out and keeps its user", id)
		}
		c.userID = user
		return giveCart(ctx, tx, c, user, s.now())
	})
	if err != nil {
		return found, err
	}
	return true, web.JSON(w, http.StatusOK, plainCart(c))
}

func (s *Service) deleteCart(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "cartId")
	if err != nil {
		return err
	}
	ctx := r.Context()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		c, err := lockCart(ctx, tx, auth.CallerOf(ctx), id)
		if err != nil {
			return err
		}
		orders, err := plainOrdersOf(ctx, tx, id)
		if err != nil {
			return fmt.Errorf("orders of cart %d: %w", id, err)
		}
		for _, o := range orders {
			if err := deletePlainOrder(ctx, tx, o, s.now()); err != nil {
				return err
			}
		}
		return dropCart(ctx, tx, c, s.now())
	})
	if errors.Is(err, sqldb.ErrReference) {
		return api.Conflict("cart %d has been checked out and stays", id)
	}
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}
