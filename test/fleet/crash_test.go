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
	shops = 8
	// bound is how long after the restart an order may go on that a crash interrupted.
	bound = 30 * time.Second
)

// story is something a customer does that must come to its end, whatever dies when.
type story struct {
	name string
	// begin prepares it and returns how to ask for it, under a key; asking gives the status of the answer,
	// 0 without one.
	begin func(s *shop) (ask func(key string) int)
	final int // the status in the end
}

func stories() []story {
	checkout := func(token string) func(*shop) func(string) int {
		return func(s *shop) func(string) int {
			cart := s.cart()
			return func(key string) int {
				status, _ := s.checkout(cart, key, token)
				return status
			}
		}
	}
	return []story{
		{"a checkout", checkout("tok_ok"), http.StatusCreated},
		{"a declined checkout", checkout("tok_declined"), http.StatusPaymentRequired},
		{"a cancellation", func(s *shop) func(string) int {
			cart := s.cart()
			var order api.Order
			if !s.await(func() bool {
				var status int
				status, order = s.checkout(cart, fmt.Sprint("before-", cart), "tok_ok")
				return status == http.StatusCreated
			}, bound) {
				s.t.Fatal("no order to cancel")
			}
			return func(key string) int {
				status, _, _ := s.try("POST", fmt.Sprintf("/order-service/api/orders/%d/cancel", order.OrderID), key, `{"reason":"changed my mind"}`)
				return status
			}
		}, http.StatusOK},
	}
}

// occasion is a crash point and which time of passing it, in one telling of a story.
type occasion struct {
	story story
	point string
	hit   int
}

func (at occasion) String() string {
	return fmt.Sprintf("%s, %s, time %d", at.story.name, at.point, at.hit)
}

// TestCrashPoints kills a shop at the points that an order passes, which a run without crashes has told,
// each in a checkout or a cancellation of its own. After the restart its key is sent again: the order comes
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
	for i := range shops {
		t.Run(fmt.Sprint("shop ", i+1), func(t *testing.T) {
			t.Parallel()
			s := open(t, binary)
			slowest := time.Duration(0)
			for n := i; n < len(points); n += shops {
				took, passed := s.crash(points[n])
				if !passed {
					// Some points are passed once in the life of a shop.
					fresh := open(t, binary)
					if took, passed = fresh.crash(points[n]); !passed {
						t.Errorf("%s: not passed", points[n])
					}
					fresh.audit(binary)
				}
				slowest = max(slowest, took)
			}
			s.audit(binary)
			t.Logf("the slowest order came to its end %s after the restart", slowest.Round(10*time.Millisecond))
		})
	}
}

// recorded are the points of each story.
func recorded(t *testing.T, binary string) []occasion {
	t.Helper()
	s := open(t, binary)
	var found []occasion
	for _, story := range stories() {
		file := filepath.Join(t.TempDir(), "record")
		ask := story.begin(s)
		s.faults("record: " + file)
		if status := ask("record-" + strings.ReplaceAll(story.name, " ", "-")); status != story.final {
			t.Fatalf("%s is answered %d, want %d", story.name, status, story.final)
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
			found = append(found, occasion{story, point, hits[point]})
		}
		if len(hits) < 10 {
			t.Fatalf("%s passes only %d points: %v", story.name, len(hits), hits)
		}
	}
	return found
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
	t.Cleanup(s.fleet.Stop)
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

// call makes a call that must succeed, if need be when breakers have closed again that a crash opened.
func (s *shop) call(want int, method, path, key, body string, into any) {
	s.t.Helper()
	var status int
	var text []byte
	var err error
	s.await(func() bool {
		status, text, err = s.try(method, path, key, body)
		return err == nil && status < 500
	}, bound)
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

// checkout sends a checkout and returns the answer, 0 without one.
func (s *shop) checkout(cart api.ID, key, token string) (status int, order api.Order) {
	body := fmt.Sprintf(`{"shippingAddress":{"fullAddress":"carthage byrsa","postalCode":"2016","city":"carthage","country":"TN"},
		"paymentMethod":{"provider":"sandbox","token":%q}}`, token)
	status, text, err := s.try("POST", fmt.Sprintf("/order-service/api/carts/%d/checkout", cart), key, body)
	if err != nil || (status == http.StatusCreated && json.Unmarshal(text, &order) != nil) {
		return 0, order
	}
	return status, order
}

// count is how many orders the customer has.
func (s *shop) count() int {
	s.t.Helper()
	var orders api.List[api.Order]
	s.call(http.StatusOK, "GET", "/order-service/api/orders?size=1", "", "", &orders)
	return int(orders.Page.TotalElements)
}

// crash tells a story in which the shop is killed at a point, and returns how long after the restart it
// was at its end, and whether the point was passed at all.
func (s *shop) crash(at occasion) (took time.Duration, passed bool) {
	s.t.Helper()
	for range 2 {
		ask, before := at.story.begin(s), s.crashes()
		s.orders++
		key := fmt.Sprintf("%s-%d", strings.ReplaceAll(at.story.name, " ", "-"), s.orders)
		s.faults(fmt.Sprintf("crashes: [{at: %q, hit: %d}]", at.point, at.hit))
		ask(key)
		reached := s.await(func() bool { return s.crashes() > before }, 5*time.Second)
		s.faults("")
		if reached {
			s.mu.Lock()
			exit := s.exits[len(s.exits)-1]
			s.mu.Unlock()
			if exit.Crashed != at.point {
				s.t.Errorf("%s: the shop ended otherwise: %+v", at, exit)
			}
		}
		s.opened()
		began, status := time.Now(), 0
		ended := s.await(func() bool {
			status = ask(key)
			return status == at.story.final
		}, bound)
		took = time.Since(began)
		if !ended {
			s.t.Errorf("%s: %s after the restart the key is still answered %d", at, bound, status)
		}
		if n := s.count(); n != s.orders {
			s.t.Errorf("%s: there are %d orders, want %d", at, n, s.orders)
			s.orders = n
		}
		if reached {
			return took, true
		}
	}
	return 0, false
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
