package order

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tienda/api"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// gone handles the event that a user is deleted.
func (f *fixture) gone(t *testing.T, user api.ID) {
	t.Helper()
	err := f.db.Tx(t.Context(), func(tx *sqldb.Tx) error {
		return f.applyUserEvent(t.Context(), tx, api.Event{Kind: "user", Subject: user, Change: "DELETED"})
	})
	if err != nil {
		t.Errorf("applyUserEvent() = %v", err)
	}
}

// The token of a deleted user is good for a while and buys nothing. What was bought stays, and so does its answer.
func TestTokenOfADeletedUser(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := start(t, db, newWorld())
		bought := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		order := decode[api.Order](t, f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(bought), goodCheckout, "Idempotency-Key", "a"))
		plain := f.plainOrder(t, "user:5")
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		other := f.fill(t, "user:6", api.ItemQuantity{ProductID: 1, Quantity: 1})
		f.gone(t, 5)
		f.gone(t, 5) // an event may come again

		item := func(cart api.ID) string { return fmt.Sprintf("/api/carts/%d/items/1", cart) }
		for _, test := range []struct {
			status                    int
			token, method, path, body string
		}{
			{422, "user:5", "GET", "/api/carts/mine", ""},
			{422, "user:5", "POST", "/api/carts", `{"userId":5}`},
			{422, "user:5", "PUT", "/api/carts", `{}`},
			{422, "user:5", "POST", "/api/orders", fmt.Sprintf(`{"cart":{"cartId":%d}}`, bought)},
			{422, "user:5", "PUT", orderPath(plain.OrderID), `{"orderDesc":"x"}`},
			{409, "user:5", "PUT", item(cart), `{"quantity":2}`},
			{409, "user:5", "POST", checkoutPath(cart), goodCheckout},
			{422, "admin:4", "POST", "/api/carts", `{"userId":5}`},
			{422, "admin:4", "PUT", fmt.Sprintf("/api/carts/%d", other), `{"userId":5}`},
			{200, "user:5", "GET", orderPath(order.OrderID), ""},
			{200, "user:5", "GET", "/api/orders", ""},
			{200, "user:6", "PUT", item(other), `{"quantity":2}`},
		} {
			got := f.send(test.token, test.method, test.path, test.body, "Idempotency-Key", "b")
			if got.status != test.status {
				t.Errorf("%s %s as %s = %d %s, want %d", test.method, test.path, test.token, got.status, got.body, test.status)
			}
			if got.status == http.StatusUnprocessableEntity && !strings.Contains(got.body, "userId names no user: 5 has been deleted") {
				t.Errorf("%s %s as %s = %s", test.method, test.path, test.token, got.body)
			}
		}
		again := f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(bought), goodCheckout, "Idempotency-Key", "a")
		if again.header.Get("Idempotency-Replayed") != "true" || decode[api.Order](t, again).OrderID != order.OrderID {
			t.Errorf("the key of the checkout gives %v %s, want order %d again", again.header, again.body, order.OrderID)
		}
		f.want(t, http.StatusOK, "user:5", "POST", cancelPath(order.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c")
		f.leftNothing(t, 5)
	})
}

// leftNothing looks for carts of a deleted user that could be bought, and for items in those that cannot.
func (f *fixture) leftNothing(t *testing.T, user api.ID) {
	t.Helper()
	carts, err := sqldb.All(t.Context(), f.db, scanCart, `SELECT `+cartColumns+` FROM carts WHERE user_id = ?`, int64(user))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range carts {
		items, err := itemsOf(t.Context(), f.db, c.id)
		if err != nil {
			t.Fatal(err)
		}
		if c.state == api.CartOpen || (c.state == api.CartCheckingOut && !c.retired) || (c.state == api.CartClosed && c.retired && len(items) > 0) {
			t.Errorf("user %d is deleted and has cart %+v with %v", user, c, items)
		}
	}
}

// A write and the handling of the event meet, each at every moment of the other: the write is refused, or what it
// wrote is retired.
func TestUserDeletedDuringAWrite(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]struct {
		needs bool // a cart with an item
		send  func(f *fixture, user api.ID, cart api.ID) reply
	}{
		"carts mine": {false, func(f *fixture, user, _ api.ID) reply {
			return f.send("user:"+user.String(), "GET", "/api/carts/mine", "")
		}},
		"cart": {false, func(f *fixture, user, _ api.ID) reply {
			return f.send("user:"+user.String(), "POST", "/api/carts", `{}`)
		}},
		"given cart": {false, func(f *fixture, user, given api.ID) reply {
			return f.send("admin:4", "PUT", fmt.Sprintf("/api/carts/%d", given), fmt.Sprintf(`{"userId":%d}`, user))
		}},
		"item": {true, func(f *fixture, user, cart api.ID) reply {
			return f.send("user:"+user.String(), "PUT", fmt.Sprintf("/api/carts/%d/items/2", cart), `{"quantity":1}`)
		}},
		"checkout": {true, func(f *fixture, user, cart api.ID) reply {
			return f.send("user:"+user.String(), "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a", "Prefer", "respond-async")
		}},
	} {
		for _, engine := range sqldbtest.Engines() {
			t.Run(name+" "+engine, func(t *testing.T) {
				t.Parallel()
				db, meeting := sqldbtest.OpenMeeting(t, engine, Migrations, journal.Migrations)
				f := build(t, db, newWorld())
				user, outcomes := api.ID(1000), map[int]int{}
				for _, handling := range []bool{false, true} {
					for n, met := 1, true; met; n++ {
						user++
						owner := user
						if name == "given cart" {
							owner = 9
						}
						var cart api.ID
						if write.needs || owner != user {
							cart = f.fill(t, "user:"+owner.String(), api.ItemQuantity{ProductID: 1, Quantity: 1})
						}
						var got reply
						send, gone := func() { got = write.send(f, user, cart) }, func() { f.gone(t, user) }
						if handling {
							met = meeting.At(n, gone, send)
						} else {
							met = meeting.At(n, send, gone)
						}
						if met {
							outcomes[got.status]++
							outcomes[0]++
							f.leftNothing(t, user)
						}
					}
				}
				accepted := outcomes[http.StatusOK] + outcomes[http.StatusCreated] + outcomes[http.StatusAccepted]
				refused := outcomes[http.StatusUnprocessableEntity] + outcomes[http.StatusConflict]
				if accepted == 0 || refused == 0 || accepted+refused != outcomes[0] {
					t.Errorf("answers by status = %v (0 is all), want some accepted, some refused and no others", outcomes)
				}
			})
		}
	}
}
