// Command scale compares a small shop with a large one: it makes the same requests to both, by turns, and
// prints how long they took. test/scale.sh makes the two shops and runs it.
//
// Both run on the same machine at the same time, and take turns of a second or so, so that whatever else the
// machine does falls on both alike. It fails when a percentile of the large shop is more than a given factor
// above that of the small one, or more than one call in a hundred of either fails: fewer, as when the machine
// stands still for a minute, count as the slowest.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	small := flag.String("small", "http://127.0.0.1:8080", "gateway of the small shop")
	large := flag.String("large", "http://127.0.0.1:9080", "gateway of the large shop")
	password := flag.String("password", "", "of the customers that were filled in")
	clients := flag.Int("clients", 4, "customers at once")
	calls := flag.Int("calls", 1500, "calls of each kind to each shop")
	turns := flag.Int("turns", 10, "turns they are made in")
	factor := flag.Float64("factor", 2, "how many times the small shop's p99 the large one's may be")
	only := flag.String("only", "", "operations whose name contains this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := compare(ctx, *small, *large, *password, *only, *clients, *calls, *turns, *factor)
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// shop is one of the two, with customers who are logged in.
type shop struct {
	url      string
	tokens   []string
	admin    string
	products []int64 // some that have stock
	took     map[string][]time.Duration
	failed   map[string]int
	mu       sync.Mutex
}

// operation is one kind of call; do makes it for a client and returns how long the part that counts took.
type operation struct {
	name string
	do   func(ctx context.Context, s *shop, client int, dice *rand.Rand) (time.Duration, error)
}

func compare(ctx context.Context, small, large, password, only string, clients, calls, turns int, factor float64) error {
	shops := []*shop{}
	for _, url := range []string{small, large} {
		s := &shop{url: url, took: map[string][]time.Duration{}, failed: map[string]int{}}
		if err := s.enter(ctx, clients, password); err != nil {
			return fmt.Errorf("%s: %w", url, err)
		}
		shops = append(shops, s)
	}
	fmt.Printf("%-34s %12s %12s %12s %12s %7s\n", "operation", "p50 small", "p50 large", "p99 small", "p99 large", "times")
	var slow []string
	for _, op := range operations() {
		if !strings.Contains(op.name, only) {
			continue
		}
		for turn := range turns + 1 {
			for _, s := range shops {
				if turn == 1 { // the turn before was for caches to fill, on both sides
					s.took[op.name] = nil
				}
				s.turn(ctx, op, clients, calls/turns, uint64(turn))
			}
		}
		var p50, p99 [2]time.Duration
		for i, s := range shops {
			took := s.took[op.name]
			if s.failed[op.name]*100 > len(took) {
				return fmt.Errorf("%s: %d calls of %q failed, of %d", s.url, s.failed[op.name], op.name, len(took))
			}
			slices.Sort(took)
			p50[i], p99[i] = took[len(took)/2], took[len(took)*99/100]
		}
		times := float64(p99[1]) / float64(p99[0])
		fmt.Printf("%-34s %12s %12s %12s %12s %7.2f\n", op.name, ms(p50[0]), ms(p50[1]), ms(p99[0]), ms(p99[1]), times)
		if times > factor {
			slow = append(slow, op.name)
		}
	}
	if len(slow) > 0 {
		return fmt.Errorf("p99 of the large shop is more than %v times that of the small one: %s", factor, strings.Join(slow, ", "))
	}
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// turn makes some calls, by all clients at once.
func (s *shop) turn(ctx context.Context, op operation, clients, calls int, seed uint64) {
	var group sync.WaitGroup
	for number := range clients {
		group.Go(func() {
			dice := rand.New(rand.NewPCG(seed, uint64(number))) // the same for both shops
			var mine []time.Duration
			failed := 0
			for range calls / clients {
				took, err := op.do(ctx, s, number, dice)
				if err != nil {
					fmt.Fprintf(os.Stderr, "scale: %s: %s: %v\n", s.url, op.name, err)
					failed++
					took = client.Timeout // as slow as can be
				}
				mine = append(mine, took)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.took[op.name] = append(s.took[op.name], mine...)
			s.failed[op.name] += failed
		})
	}
	group.Wait()
}

// words are asked for as customers do: kinds of things most, then kinds with a quality, makers, and the
// beginning of a word.
var words = []string{"laptop", "keyboard", "shirt", "mouse", "monitor", "lamp", "camera", "kettle", "helmet", "planter", "wireless+keyboard", "black+laptop",
	"classic+watch", "premium+shoe", "silver+camera", "portable+speaker", "lap", "key", "head", "ba", "A100", "B121", "Z492", "vintage+lamp"}

var statuses = []string{"CONFIRMED", "SHIPPED", "DELIVERED", "CANCELLED", "REFUNDED", "CREATED"}

func pick(list []string, dice *rand.Rand) string { return list[dice.IntN(len(list))] }

// read is an operation of one GET.
func read(name string, path func(dice *rand.Rand) string, token func(s *shop, client int) string) operation {
	return operation{name, func(ctx context.Context, s *shop, client int, dice *rand.Rand) (time.Duration, error) {
		return s.call(ctx, http.MethodGet, path(dice), token(s, client), "", "", nil)
	}}
}

func operations() []operation {
	nobody := func(*shop, int) string { return "" }
	customer := func(s *shop, client int) string { return s.tokens[client] }
	admin := func(s *shop, _ int) string { return s.admin }
	products := func(query func(dice *rand.Rand) string) func(dice *rand.Rand) string {
		return func(dice *rand.Rand) string { return "/product-service/api/products?size=20&" + query(dice) }
	}
	return []operation{
		read("search", products(func(dice *rand.Rand) string { return "q=" + pick(words, dice) }), nobody),
		read("search, in stock, by price", products(func(dice *rand.Rand) string { return "inStock=true&sort=priceUnit,asc&q=" + pick(words, dice) }), nobody),
		read("products, first pages", products(func(dice *rand.Rand) string { return fmt.Sprint("page=", dice.IntN(5)) }), nobody),
		read("products by price", products(func(dice *rand.Rand) string { return fmt.Sprint("sort=priceUnit,desc&page=", dice.IntN(5)) }), nobody),
		read("products of a category", products(func(dice *rand.Rand) string { return fmt.Sprint("categoryId=", 1+dice.IntN(16)) }), nobody),
		read("products in a range of prices", products(func(dice *rand.Rand) string {
			low := 5 + dice.IntN(60)
			return fmt.Sprintf("minPrice=%d&maxPrice=%d&sort=priceUnit,asc", low, low+10)
		}), nobody),
		read("products, last pages", products(func(dice *rand.Rand) string { return fmt.Sprint("page=", 40+dice.IntN(9)) }), nobody),
		{"a product", func(ctx context.Context, s *shop, _ int, dice *rand.Rand) (time.Duration, error) {
			return s.call(ctx, http.MethodGet, fmt.Sprint("/product-service/api/products/", s.products[dice.IntN(len(s.products))]), "", "", "", nil)
		}},
		read("own orders", func(*rand.Rand) string { return "/order-service/api/orders?size=20" }, customer),
		read("own orders with payments", func(*rand.Rand) string { return "/app/api/me/orders?size=20" }, customer),
		read("orders in a status", func(dice *rand.Rand) string {
			return "/order-service/api/orders?size=20&status=" + pick(statuses, dice)
		}, admin),
		read("orders by date", func(dice *rand.Rand) string {
			return fmt.Sprint("/order-service/api/orders?size=20&sort=orderDate,desc&page=", dice.IntN(20))
		}, admin),
		read("events of orders", func(dice *rand.Rand) string {
			return fmt.Sprint("/order-service/api/events?limit=100&after=", 100*dice.IntN(30))
		}, admin),
		read("cart", func(*rand.Rand) string { return "/order-service/api/carts/mine" }, customer),
		{"put into the cart", func(ctx context.Context, s *shop, client int, dice *rand.Rand) (time.Duration, error) {
			_, took, err := s.put(ctx, client, dice, min(50, len(s.products))) // a cart holds 200
			return took, err
		}},
		{"checkout", func(ctx context.Context, s *shop, client int, dice *rand.Rand) (time.Duration, error) {
			cart, _, err := s.put(ctx, client, dice, len(s.products))
			if err != nil {
				return 0, err
			}
			return s.call(ctx, http.MethodPost, fmt.Sprintf("/order-service/api/carts/%d/checkout", cart), s.tokens[client],
				`{"shippingAddress":{"fullAddress":"1 Rue de Marseille","postalCode":"1000","city":"Tunis","country":"TN"},"paymentMethod":{"provider":"sandbox","token":"tok_ok"}}`,
				fmt.Sprintf("scale-%d-%d", time.Now().UnixNano(), client), nil)
		}},
	}
}

// put puts one of so many products into the client's cart.
func (s *shop) put(ctx context.Context, client int, dice *rand.Rand, products int) (cart int64, took time.Duration, err error) {
	mine, err := s.cart(ctx, client)
	if err != nil {
		return 0, 0, err
	}
	took, err = s.call(ctx, http.MethodPut, mine.item(s.products[dice.IntN(products)]), s.tokens[client], `{"quantity":1}`, "", nil)
	return mine.CartID, took, err
}

// cart is what is looked at of a cart.
type cart struct {
	CartID int64
	Items  []struct{ ProductID int64 }
}

// item is the path of a product in the cart.
func (c cart) item(product int64) string {
	return fmt.Sprintf("/order-service/api/carts/%d/items/%d", c.CartID, product)
}

// cart is the client's cart, which is made if there is none.
func (s *shop) cart(ctx context.Context, client int) (mine cart, err error) {
	_, err = s.call(ctx, http.MethodGet, "/order-service/api/carts/mine", s.tokens[client], "", "", &mine)
	return mine, err
}

// fillCart puts a few products into the client's cart instead of those that an earlier run may have left.
func (s *shop) fillCart(ctx context.Context, client int) error {
	mine, err := s.cart(ctx, client)
	if err != nil {
		return err
	}
	for _, item := range mine.Items {
		if _, err := s.call(ctx, http.MethodDelete, mine.item(item.ProductID), s.tokens[client], "", "", nil); err != nil {
			return err
		}
	}
	dice := rand.New(rand.NewPCG(0, uint64(client)))
	for range 5 {
		if _, _, err := s.put(ctx, client, dice, len(s.products)); err != nil {
			return err
		}
	}
	return nil
}

// enter logs the customers in, beginning with the one who has ordered most, and looks around.
func (s *shop) enter(ctx context.Context, clients int, password string) error {
	login := func(username, password string) (string, error) {
		var answer struct{ JwtToken string }
		_, err := s.call(ctx, http.MethodPost, "/app/api/authenticate", "", fmt.Sprintf(`{"username":%q,"password":%q}`, username, password), "", &answer)
		return answer.JwtToken, err
	}
	var err error
	if s.admin, err = login("admin", "0000"); err != nil {
		return err
	}
	for client := range clients {
		token, err := login(fmt.Sprint("customer-", 5+client), password) // the demo has users 1 to 4; these have ordered most
		if err != nil {
			return err
		}
		s.tokens = append(s.tokens, token)
	}
	var found struct {
		Collection []struct{ ProductID, Quantity int64 }
	}
	if _, err := s.call(ctx, http.MethodGet, "/product-service/api/products?inStock=true&size=1000", "", "", "", &found); err != nil {
		return err
	}
	for _, product := range found.Collection {
		if product.Quantity > 30 {
			s.products = append(s.products, product.ProductID)
		}
	}
	if len(s.products) == 0 {
		return errors.New("nothing is in stock")
	}
	for client := range clients {
		if err := s.fillCart(ctx, client); err != nil {
			return err
		}
	}
	return nil
}

// maxAnswer is more than any answer here needs: a page of a thousand products is the largest.
const maxAnswer = 8 << 20

var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// call makes one call, which must succeed.
func (s *shop) call(ctx context.Context, method, path, token, body, key string, answer any) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
		request.Header.Set("Prefer", "wait=30")
	}
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(http.MaxBytesReader(nil, response.Body, maxAnswer))
	took := time.Since(began)
	switch {
	case err != nil:
		return took, err
	case response.StatusCode >= 300:
		return took, fmt.Errorf("%s %s: %d %.200s", method, path, response.StatusCode, bytes.TrimSpace(text))
	case answer != nil:
		err = json.Unmarshal(text, answer)
	}
	return took, err
}
