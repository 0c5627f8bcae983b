package payment

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

func (h *shop) withdraw(order api.ID, key string) answer {
	h.t.Helper()
	return h.call(service, http.MethodPost, "/payments/withdraw", fmt.Sprintf(`{"orderId":%d,"key":%q}`, order, key))
}

// An authorization that was withdrawn before it came is refused, and nothing is asked of the provider.
func TestWithdrawnBeforeItCame(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		for range 2 {
			if p := into[api.Problem](t, h.withdraw(7, "a").want(t, 402)); p.FailureCode != "withdrawn" || p.OrderID != 7 {
				t.Errorf("withdraw = %+v, want the failure code withdrawn and order 7", p)
			}
		}
		for range 2 {
			p := into[api.Problem](t, h.with("a", service, "/payments/authorize", authorization(7, "10", tokenOK)).want(t, 402))
			if p.FailureCode != "withdrawn" {
				t.Errorf("authorize = %+v, want the failure code withdrawn", p)
			}
		}
		h.wantMoney(1, money{State: api.PaymentFailed})
		h.with("b", service, "/payments/authorize", authorization(7, "10", tokenOK)).want(t, 201) // another key is another matter
	})
}

// One that was made, refused or has no outcome yet is told as it is.
func TestWithdrawnTooLate(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		made := into[api.Payment](t, h.with("a", service, "/payments/authorize", authorization(7, "10", tokenOK)).want(t, 201))
		if got := into[api.Payment](t, h.withdraw(7, "a").want(t, 201)); got.PaymentID != made.PaymentID || got.State != api.PaymentAuthorized {
			t.Errorf("withdraw = %+v, want payment %d AUTHORIZED", got, made.PaymentID)
		}
		h.with("b", service, "/payments/authorize", authorization(8, "10", tokenDeclined)).want(t, 402)
		if got := into[api.Problem](t, h.withdraw(8, "b").want(t, 402)); got.FailureCode != "card_declined" {
			t.Errorf("withdraw = %+v, want the failure code card_declined", got)
		}
		h.with("c", service, "/payments/authorize", authorization(9, "10", tokenErrorThenOK)).want(t, 503)
		if got := into[api.Payment](t, h.withdraw(9, "c").want(t, 201)); got.State != api.PaymentAuthorized {
			t.Errorf("withdraw = %+v, want what the provider says now", got)
		}
	})
}

// Both at once come to the same end, whoever is first.
func TestWithdrawnMeanwhile(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		for order := 1; order <= 20; order++ {
			var asked, withdrawn answer
			key := fmt.Sprint("order-", order)
			var both sync.WaitGroup
			both.Go(func() { asked = h.with(key, service, "/payments/authorize", authorization(order, "10", tokenOK)) })
			both.Go(func() { withdrawn = h.withdraw(api.ID(order), key) })
			both.Wait()
			for range 10 { // 409: the other still asks the provider
				if asked.status == http.StatusConflict {
					asked = h.with(key, service, "/payments/authorize", authorization(order, "10", tokenOK))
				}
				if withdrawn.status == http.StatusConflict {
					withdrawn = h.withdraw(api.ID(order), key)
				}
			}
			if asked.status != withdrawn.status || asked.status != 201 && asked.status != 402 {
				t.Errorf("order %d: authorize = %d %s, withdraw = %d %s; want the same outcome", order, asked.status, asked.body, withdrawn.status, withdrawn.body)
			}
		}
	})
}

func TestWithdrawalRefused(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	h.withdraw(0, "a").want(t, 422)
	h.withdraw(7, "").want(t, 422)
	h.call("user:5", http.MethodPost, "/payments/withdraw", `{"orderId":7,"key":"a"}`).want(t, 403)
}
