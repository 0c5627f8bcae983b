package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tienda/api"
)

func TestAmountsAreExact(t *testing.T) {
	t.Parallel()
	usd, yen, dinar := api.Currency{Code: "USD", Digits: 2}, api.Currency{Code: "JPY"}, api.Currency{Code: "TND", Digits: 3}
	for _, c := range []struct {
		text     string
		currency api.Currency
		minor    int64
		shown    string
	}{
		{"0", usd, 0, "0.00"}, {"0e999", usd, 0, "0.00"}, {"-0.0", usd, 0, "0.00"}, {"99.99", usd, 9999, "99.99"}, {"5000.0", usd, 500000, "5000.00"},
		{"0.10", usd, 10, "0.10"}, {"1e2", usd, 10000, "100.00"}, {"1.5e1", usd, 1500, "15.00"}, {"-12.3", usd, -1230, "-12.30"},
		{`"19.90"`, usd, 1990, "19.90"}, {"99.990000000000000000", usd, 9999, "99.99"}, {"500", yen, 500, "500.0"},
		{"1.234", dinar, 1234, "1.234"}, {"0.001", dinar, 1, "0.001"}, {"1000000000e1", usd, 1_000_000_000_000, "10000000000.00"},
	} {
		var a api.Amount
		if err := json.Unmarshal([]byte(c.text), &a); err != nil {
			t.Errorf("amount %s: %v", c.text, err)
			continue
		}
		minor, err := c.currency.Minor(a)
		if err != nil || minor != c.minor {
			t.Errorf("Minor(%s) = %d, %v, want %d", c.text, minor, err, c.minor)
		}
		if shown := c.currency.Amount(minor).String(); shown != c.shown {
			t.Errorf("Amount(%d) = %s, want %s", minor, shown, c.shown)
		}
	}
	for _, text := range []string{"0.001", "9999999999999", "1e17", "1e18", "1e19", "-1e300", "1e999999999999", "1e99999999999999999999", "1e-19", "1e-400", "99.999", "10000000000.01"} {
		var a api.Amount
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Errorf("amount %s: %v, want it to be read and refused by its currency", text, err)
			continue
		}
		if minor, err := usd.Minor(a); err == nil {
			t.Errorf("Minor(%s) = %d, want an error", text, minor)
		}
	}
	for _, text := range []string{`"abc"`, "true", `""`, "[1]", `"1,5"`, `"0x10"`, `"1e"`, `"1e1.5"`, `"--1"`, `"1."`, `"NaN"`} {
		var a api.Amount
		if err := json.Unmarshal([]byte(text), &a); err == nil {
			t.Errorf("amount %s = %v, want an error", text, a)
		}
	}
}

// TestAmountsComeBack checks that what is written is read as the same minor units, for any currency.
func TestAmountsComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		currency := api.Currency{Code: "USD", Digits: rapid.IntRange(0, 4).Draw(t, "digits")}
		minor := rapid.Int64Range(-1_000_000_000_000, 1_000_000_000_000).Draw(t, "minor")
		text, err := json.Marshal(currency.Amount(minor))
		if err != nil {
			t.Fatal(err)
		}
		var a api.Amount
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatalf("read %s: %v", text, err)
		}
		if back, err := currency.Minor(a); err != nil || back != minor {
			t.Fatalf("%d was written as %s and read as %d, %v", minor, text, back, err)
		}
	})
}

func FuzzAmount(f *testing.F) {
	for _, seed := range []string{"0", "99.99", "-1e-3", "1E5", "00.1", "9223372036854775807", "1e18"} {
		f.Add(seed)
	}
	usd := api.Currency{Code: "USD", Digits: 2}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := api.ParseAmount(text)
		if err != nil {
			return
		}
		minor, err := usd.Minor(a)
		if err != nil {
			return
		}
		back, err := api.ParseAmount(usd.Amount(minor).String())
		if err != nil {
			t.Fatalf("ParseAmount(%q) of %q: %v", usd.Amount(minor), text, err)
		}
		if again, err := usd.Minor(back); err != nil || again != minor {
			t.Fatalf("%q is %d and then %d, %v", text, minor, again, err)
		}
	})
}

func TestDateTimes(t *testing.T) {
	t.Parallel()
	want := time.Date(2025, 11, 4, 23, 52, 0, 805000000, time.UTC)
	for _, text := range []string{"04-11-2025__23:52:00:805000", "2025-11-04T23:52:00.805Z", "2025-11-05T00:52:00.805+01:00", "2025-11-04T23:52:00.805"} {
		got, err := api.ParseDateTime(text)
		if err != nil || !got.Equal(want) {
			t.Errorf("ParseDateTime(%q) = %v, %v, want %v", text, got.Time, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "31-02-2025__00:00:00:000000", "04-11-2025__23:52:00:8", "04-11-2025__23:52:00", "0000-01-01T00:00:00Z"} {
		if got, err := api.ParseDateTime(text); err == nil {
			t.Errorf("ParseDateTime(%q) = %v, want an error", text, got.Time)
		}
	}
	data, err := json.Marshal(struct {
		At   api.DateTime
		None api.DateTime
		Day  api.Date
	}{At: api.DateTime{Time: want}, Day: api.Date{Time: want}})
	if got := string(data); err != nil || got != `{"At":"04-11-2025__23:52:00:805000","None":null,"Day":"04-11-2025"}` {
		t.Errorf("Marshal = %s, %v", got, err)
	}
}

func FuzzDateTime(f *testing.F) {
	f.Add("04-11-2025__23:52:00:805000")
	f.Add("2025-11-04T23:52:00.805Z")
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := api.ParseDateTime(text)
		if err != nil {
			return
		}
		again, err := api.ParseDateTime(parsed.String())
		if err != nil || !again.Equal(parsed.Time) {
			t.Fatalf("ParseDateTime(%q) = %v, written %q, read %v, %v", text, parsed.Time, parsed.String(), again.Time, err)
		}
	})
}

// TestLenientInput reads what clients of the original system send.
func TestLenientInput(t *testing.T) {
	t.Parallel()
	var order api.Order
	text := `{"orderId":"7","orderDate":null,"orderFee":"99.99","cartDto":{"cartId":"5","unknown":{"deep":[1,2]}}}`
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		t.Fatal(err)
	}
	if order.OrderID != 7 || order.Cart == nil || order.Cart.CartID != 5 || order.OrderFee.String() != "99.99" {
		t.Errorf("order = %+v", order)
	}
	var item api.OrderItem
	if err := json.Unmarshal([]byte(`{"productId":1,"orderId":5.0,"orderedQuantity":"2"}`), &item); err != nil || *item.OrderedQuantity != 2 || item.OrderID != 5 {
		t.Errorf("item = %+v, %v", item, err)
	}
	for _, bad := range []string{`{"orderId":"x"}`, `{"orderId":1.5}`, `{"orderId":{}}`, `{"orderId":true}`, `{"orderId":99999999999999999999}`} {
		if err := json.Unmarshal([]byte(bad), &order); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

// TestShapesOfTheOriginal compares answers with recordings of the Java system.
func TestShapesOfTheOriginal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		value any
		want  string
	}{
		"favourite that was posted": {
			api.Favourite{UserID: 25, ProductID: 1, LikeDate: api.DateTime{Time: time.Date(2025, 11, 4, 23, 52, 0, 805000000, time.UTC)},
				User: &api.User{UserID: 25}, Product: &api.Product{ProductID: 1}},
			`{"userId":25,"productId":1,"likeDate":"04-11-2025__23:52:00:805000","user":{"userId":25,"firstName":null,"lastName":null,"imageUrl":null,"email":null,"phone":null},"product":{"productId":1,"productTitle":null,"imageUrl":null,"sku":null,"priceUnit":null,"quantity":null}}`,
		},
		"cart that was posted": {
			api.Cart{CartID: 16, UserID: 25, User: &api.User{UserID: 25}},
			`{"cartId":16,"userId":25,"user":{"userId":25,"firstName":null,"lastName":null,"imageUrl":null,"email":null,"phone":null}}`,
		},
		"cart of an order": {
			api.Order{OrderID: 16, OrderDesc: new("E2E Test Order"), OrderFee: new(api.Currency{Digits: 2}.Amount(9999)), Cart: &api.Cart{CartID: 16}},
			`{"orderId":16,"orderDate":null,"orderDesc":"E2E Test Order","orderFee":99.99,"cart":{"cartId":16,"userId":null}}`,
		},
		"payment that was posted": {
			api.Payment{PaymentID: 13, IsPayed: new(false), PaymentStatus: new("NOT_STARTED"), Order: &api.Order{OrderID: 16}},
			`{"paymentId":13,"isPayed":false,"paymentStatus":"NOT_STARTED","order":{"orderId":16,"orderDate":null,"orderDesc":null,"orderFee":null}}`,
		},
		"category at the root": {
			api.Category{CategoryID: 1, CategoryTitle: new("Computer"), Parent: &api.Category{}},
			`{"categoryId":1,"categoryTitle":"Computer","imageUrl":null,"parentCategory":{"categoryId":null,"categoryTitle":null,"imageUrl":null}}`,
		},
	} {
		got, err := json.Marshal(c.value)
		if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
}

func TestProblemsCrossAHop(t *testing.T) {
	t.Parallel()
	sent := api.Invalid(api.FieldError{Field: "quantity", Reason: "must be 1 to 999"})
	body, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	received := api.ParseProblem(http.StatusUnprocessableEntity, body)
	if received.Detail != "quantity must be 1 to 999" || len(received.Errors) != 1 || received.HTTPStatus != "UNPROCESSABLE_ENTITY" {
		t.Errorf("received %+v", received)
	}
	if p := api.ParseProblem(502, []byte("<html>bad gateway</html>")); p.Status != 502 || strings.Contains(p.Error(), "html") {
		t.Errorf("a foreign body became %+v", p)
	}
	wrapped := errors.Join(errors.New("while asking"), &api.Unreachable{Problem: api.Unavailable("user-service"), Cause: errors.New("connection refused")})
	if !api.IsStatus(wrapped, http.StatusServiceUnavailable) {
		t.Errorf("IsStatus does not see through %v", wrapped)
	}
	if got := api.NotFound("Order with id: %d not found", 7).Msg; got != "#### Order with id: 7 not found! ####" {
		t.Errorf("msg = %q", got)
	}
}

func FuzzDecodeOrder(f *testing.F) {
	f.Add([]byte(`{"orderId":1,"cartDto":{"cartId":"2"}}`))
	f.Add([]byte(`{"orderFee":1e400,"orderDate":"04-11-2025__23:52:00:805000"}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		var order api.Order
		var product api.Product
		var user api.User
		_ = json.Unmarshal(data, &order)   // must not panic; errors are the answer to most inputs
		_ = json.Unmarshal(data, &product) // likewise
		_ = json.Unmarshal(data, &user)    // likewise
	})
}
