package fleet_test

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tienda/api"
	"tienda/test/fleet"
)

var (
	all  = flag.Bool("crash-all", false, "kill the shop at every crash point, not at a sample of them")
	seed = flag.Uint64("crash-seed", 0, "seed of the sample; 0 takes a new one")
)

const (
	// sample is how many crash points are tried without -crash-all.
	sample = 24
	// shops is how many shops are killed side by side: most of the time they wait for a lease to run out.
	shops = 6
	// bound is how long after the restart an order may go on that a crash interrupted.
	bound = 30 * time.Second
)

// occasion is a crash point and which time of passing it, in one checkout.
type occasion struct {
	token, point string
	hit          int
}

// TestCrashPoints kills a shop at the points that a checkout passes, which a run without crashes has told,
// each in a checkout of its own. After the restart the key of the checkout is sent again: the order comes
// to its end within 30 seconds, once, and the books hold.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary, err := fleet.Build(t.Context(), dir, "faults")
	if err != nil {
		t.Fatal(err)
	}
	points := recorded(t, binary)
	number := cmp.Or(*seed, rand.Uint64())
	total := len(points)
	rand.New(rand.NewPCG(number, 0)).Shuffle(total, func(i, j int) { points[i], points[j] = points[j], points[i] })
	if !*all {
		points = points[:min(sample, total)]
	}
	t.Logf("%d of %d crash points; -crash-seed=%d takes the same again", len(points), total, number)
	next := make(chan occasion)
	var group sync.WaitGroup
	var slowest atomic.Int64
	for range shops {
		group.Go(func() {
			s := open(t, binary)
			for at := range next {
				took := s.crash(at)
				slowest.Store(max(slowest.Load(), int64(took)))
			}
			s.audit(binary)
		})
	}
	for _, at := range points {
		next <- at
	}
	close(next)
	group.Wait()
	t.Logf("the slowest order came to its end %s after the restart", time.Duration(slowest.Load()).Round(10*time.Millisecond))
}

// recorded are the points of one checkout that succeeds and of one whose card is declined.
func recorded(t *testing.T, binary string) []occasion {
	t.Helper()
	s := open(t, binary)
	var found []occasion
	for _, token := range []string{"tok_ok", "tok_declined"} {
		file := filepath.Join(t.TempDir(), "record")
		cart := s.cart()
		s.faults("record: " + file)
		if status := s.checkout(cart, "record-"+token, token); status != final(token) {
			t.Fatalf("a checkout with %s is answered %d", token, status)
		}
		time.Sleep(time.Second) // what comes after the answer, such as shipping telling of the parcel
		s.faults("")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		hits := map[string]int{}
		for point := range strings.Lines(string(text)) {
			point = strings.TrimSpace(point)
			if strings.Contains(point, "commit zipkin.") {
				continue // the tracing server is not on the path of the order
			}
			hits[point]++
			found = append(found, occasion{token, point, hits[point]})
		}
	}
	if len(found) < 50 {
		t.Fatalf("only %d points were passed: %v", len(found), found)
	}
	return found
}

// final is what a checkout is answered in the end.
func final(token string) int {
	if token == "tok_declined" {
		return http.StatusPaymentRequired
	}
	return http.StatusCreated
}

// shop is one shop with a customer.
type shop struct {
	t      *testing.T
	dir    string
	fleet  *fleet.Fleet
	client *http.Client
	token  string
	orders int // that there must be

	mu    sync.Mutex
	exits []fleet.Exit
}

func open(t *testing.T, binary string) *shop {
	t.Helper()
	s := &shop{t: t, dir: t.TempDir(), client: &http.Client{Timeout: 35 * time.Second}}
	var err error
	s.fleet, err = fleet.StartOne(t.Context(), fleet.Options{
		Dir: s.dir, Binary: binary, Faults: true,
		Ended: func(_ *fleet.Process, e fleet.Exit) {
			s.faults("") // the next start is to live
			s.mu.Lock()
			defer s.mu.Unlock()
			s.exits = append(s.exits, e)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.fleet.Stop() })
	s.opened()
	var session api.Tokens
	s.call(http.StatusOK, "POST", "/app/api/authenticate", "", `{"username":"selimhorri","password":"0000"}`, &session)
	s.token = session.JWTToken
	s.orders = s.count()
	return s
}

// opened waits until the gateway serves what is behind it.
func (s *shop) opened() {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		status, body, err := s.try("GET", "/order-service/v3/api-docs", "", "")
		if err == nil && status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the shop does not open: %d %s %v", status, body, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *shop) try(method, path, key, body string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(context.WithoutCancel(s.t.Context()), method, s.fleet.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	response, err := s.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, text, err
}

// call makes a call that must succeed.
func (s *shop) call(want int, method, path, key, body string, into any) {
	s.t.Helper()
	status, text, err := s.try(method, path, key, body)
	if err == nil && status == want {
		err = json.Unmarshal(text, into)
	}
	if err != nil || status != want {
		s.t.Fatalf("%s %s: %d %s %v", method, path, status, text, err)
	}
}

func (s *shop) faults(text string) {
	if err := s.fleet.SetFaults(s.fleet.Components[0], text); err != nil {
		s.t.Error(err)
	}
}

// cart is a cart with something in it.
func (s *shop) cart() api.ID {
	s.t.Helper()
	var cart api.Cart
	s.call(http.StatusOK, "GET", "/order-service/api/carts/mine", "", "", &cart)
	s.call(http.StatusOK, "PUT", fmt.Sprintf("/order-service/api/carts/%d/items/1", cart.CartID), "", `{"quantity":1}`, &cart)
	return cart.CartID
}

// checkout sends a checkout and returns the status of the answer, 0 without one.
func (s *shop) checkout(cart api.ID, key, token string) int {
	body := fmt.Sprintf(`{"shippingAddress":{"fullAddress":"carthage byrsa","postalCode":"2016","city":"carthage","country":"TN"},
		"paymentMethod":{"provider":"sandbox","token":%q}}`, token)
	status, _, err := s.try("POST", fmt.Sprintf("/order-service/api/carts/%d/checkout", cart), key, body)
	if err != nil {
		return 0
	}
	return status
}

// count is how many orders the customer has.
func (s *shop) count() int {
	s.t.Helper()
	var orders api.List[api.Order]
	s.call(http.StatusOK, "GET", "/order-service/api/orders?size=1", "", "", &orders)
	return int(orders.Page.TotalElements)
}

// crash makes a checkout in which the shop is killed at a point, and returns how long after the restart
// the order was at its end.
func (s *shop) crash(at occasion) time.Duration {
	s.t.Helper()
	name := fmt.Sprintf("%s, time %d, %s", at.point, at.hit, at.token)
	for range 3 {
		cart, before := s.cart(), s.crashes()
		key := fmt.Sprintf("%s-%d-%d", at.token, cart, before)
		s.faults(fmt.Sprintf("crashes: [{at: %q, hit: %d}]", at.point, at.hit))
		s.checkout(cart, key, at.token)
		reached := s.await(func() bool { return s.crashes() > before }, 5*time.Second)
		s.faults("")
		if reached {
			s.mu.Lock()
			exit := s.exits[len(s.exits)-1]
			s.mu.Unlock()
			if exit.Crashed != at.point {
				s.t.Errorf("%s: the shop ended otherwise: %+v", name, exit)
			}
		}
		s.opened()
		began, status := time.Now(), 0
		ended := s.await(func() bool {
			status = s.checkout(cart, key, at.token)
			return status == final(at.token)
		}, bound)
		s.orders++
		took := time.Since(began)
		if !ended {
			s.t.Errorf("%s: %s after the restart the key is still answered %d", name, bound, status)
		}
		if n := s.count(); n != s.orders {
			s.t.Errorf("%s: there are %d orders, want %d", name, n, s.orders)
			s.orders = n
		}
		if reached {
			return took
		}
	}
	s.t.Errorf("%s: not passed in three checkouts", name)
	return 0
}

func (s *shop) crashes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.exits)
}

func (s *shop) await(what func() bool, most time.Duration) bool {
	for deadline := time.Now().Add(most); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if what() {
			return true
		}
	}
	return false
}

// audit has the books checked.
func (s *shop) audit(binary string) {
	s.t.Helper()
	audited, err := s.fleet.Audit(s.t.Context(), binary)
	if err != nil {
		s.t.Error(err)
	}
	for _, i := range audited.Invariants {
		if i.Violations > 0 {
			s.t.Errorf("%s: %d violations, the first %v", i.Sentence, i.Violations, i.First)
		}
	}
}
