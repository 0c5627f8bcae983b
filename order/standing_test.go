package order

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/sqldb"
)

// Components learn how far orders are, and whether that is the last word.
func TestStandings(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		plain, done, cancelled := f.plainOrder(t, "user:5"), f.buy(t, "user:5", "a"), f.buy(t, "user:5", "b")
		f.want(t, http.StatusOK, "user:5", "POST", cancelPath(cancelled.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c")
		w.around(func(_ context.Context, call string) error {
			if call == "Capture" {
				return away("payment-service")
			}
			return nil
		}, nil)
		cart := decode[api.Cart](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/carts/mine", ""))
		f.want(t, http.StatusOK, "user:5", "PUT", fmt.Sprintf("/api/carts/%d/items/1", cart.CartID), `{"quantity":1}`)
		open := decode[api.Order](t, f.want(t, http.StatusAccepted, "user:5", "POST", checkoutPath(cart.CartID), goodCheckout, "Idempotency-Key", "d", "Prefer", "respond-async"))
		path := fmt.Sprintf("/api/orders/standings?ids=%d,%d,%d,%d,999", open.OrderID, cancelled.OrderID, done.OrderID, plain.OrderID)
		f.want(t, http.StatusForbidden, "user:5", "GET", path, "")
		f.want(t, http.StatusForbidden, "admin:4", "GET", path, "")
		got := decode[api.List[api.OrderStanding]](t, f.want(t, http.StatusOK, "service:payment-service", "GET", path, ""))
		if diff := cmp.Diff([]api.OrderStanding{
			{OrderID: plain.OrderID, Status: api.OrderCreated}, {OrderID: done.OrderID, Status: api.OrderConfirmed},
			{OrderID: cancelled.OrderID, Status: api.OrderCancelled}, {OrderID: open.OrderID, Status: api.OrderPending, InProgress: true},
		}, got.Collection); diff != "" {
			t.Errorf("standings (-want +got):\n%s", diff)
		}
		if none := f.want(t, http.StatusOK, "service:payment-service", "GET", "/api/orders/standings?ids=", ""); strings.TrimSpace(none.body) != `{"collection":[]}` {
			t.Errorf("standings of no order = %s", none.body)
		}
		w.around(nil, nil)
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			got = decode[api.List[api.OrderStanding]](t, f.want(t, http.StatusOK, "service:payment-service", "GET", fmt.Sprintf("/api/orders/standings?ids=%d", open.OrderID), ""))
			if !got.Collection[0].InProgress {
				break
			}
		}
		if diff := cmp.Diff([]api.OrderStanding{{OrderID: open.OrderID, Status: api.OrderConfirmed}}, got.Collection); diff != "" {
			t.Errorf("standing in the end (-want +got):\n%s", diff)
		}
	})
}
