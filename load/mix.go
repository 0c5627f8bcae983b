package load

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tienda/api"
)

// Mix says how often customers do what, each in percent. The shares of tokens are those of checkouts;
// what they leave is paid with a good card.
type Mix struct {
	Browse  int `json:"browse"`  // of visits: look around and buy nothing
	Look    int `json:"look"`    // of visits that buy: look around first
	Track   int `json:"track"`   // of orders: follow them with the shipment and the list of one's orders
	Async   int `json:"async"`   // of checkouts: Prefer: respond-async
	Replay  int `json:"replay"`  // of checkouts: sent again with their key after the answer
	Cancel  int `json:"cancel"`  // of orders: the customer cancels
	Ship    int `json:"ship"`    // of orders: an administrator ships them
	Restock int `json:"restock"` // of checkouts that lacked stock: an administrator books some in

	Declined         int `json:"declined"`
	Insufficient     int `json:"insufficient-funds"`
	ErrorThenOK      int `json:"error-then-ok"`
	LostAnswer       int `json:"lost-answer"`
	Slow             int `json:"slow"`
	WebhookFirst     int `json:"webhook-first"`
	DuplicateWebhook int `json:"duplicate-webhook"`
}

// Mixes are the mixes that have a name.
func Mixes() map[string]Mix {
	return map[string]Mix{
		"story": {Browse: 30, Look: 100, Track: 100, Async: 10, Replay: 5, Cancel: 5, Ship: 10, Restock: 100,
			Declined: 5, Insufficient: 2, ErrorThenOK: 1, LostAnswer: 1, Slow: 1, WebhookFirst: 2, DuplicateWebhook: 2},
		"browse":   {Browse: 90, Look: 100, Track: 100, Async: 10, Restock: 100, Declined: 5},
		"checkout": {Restock: 100},
		"hostile": {Look: 20, Track: 50, Async: 20, Replay: 20, Cancel: 10, Ship: 10, Restock: 100,
			Declined: 5, Insufficient: 5, ErrorThenOK: 10, LostAnswer: 5, Slow: 5, WebhookFirst: 10, DuplicateWebhook: 10},
	}
}

// share is one number of a mix with the name that people type.
type share struct {
	name  string
	value *int
	token string // of the sandbox, where it is the share of one
}

func (m *Mix) shares() []share {
	return []share{
		{"browse", &m.Browse, ""}, {"look", &m.Look, ""}, {"track", &m.Track, ""}, {"async", &m.Async, ""}, {"replay", &m.Replay, ""},
		{"cancel", &m.Cancel, ""}, {"ship", &m.Ship, ""}, {"restock", &m.Restock, ""},
		{"declined", &m.Declined, "tok_declined"}, {"insufficient-funds", &m.Insufficient, "tok_insufficient_funds"},
		{"error-then-ok", &m.ErrorThenOK, "tok_error_then_ok"}, {"lost-answer", &m.LostAnswer, "tok_lost_answer"}, {"slow", &m.Slow, "tok_slow"},
		{"webhook-first", &m.WebhookFirst, "tok_webhook_first"}, {"duplicate-webhook", &m.DuplicateWebhook, "tok_duplicate_webhook"},
	}
}

// ParseMix reads the name of a mix, shares such as "cancel=20,declined=0" that change the mix "story",
// or a name and shares: "checkout,async=50".
func ParseMix(text string) (Mix, error) {
	mix := Mixes()["story"]
	for i, part := range strings.Split(text, ",") {
		part = strings.TrimSpace(part)
		name, value, isShare := strings.Cut(part, "=")
		if !isShare {
			named, ok := Mixes()[part]
			if !ok || i > 0 {
				return mix, fmt.Errorf("%q is no mix: want one of %s, then shares such as cancel=20", part, strings.Join(slices.Sorted(maps.Keys(Mixes())), ", "))
			}
			mix = named
			continue
		}
		shares := mix.shares()
		at := slices.IndexFunc(shares, func(s share) bool { return s.name == strings.TrimSpace(name) })
		if at < 0 {
			names := make([]string, len(shares))
			for i, s := range shares {
				names[i] = s.name
			}
			return mix, fmt.Errorf("a mix has no share %q: there are %s", name, strings.Join(names, ", "))
		}
		percent, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), "%"))
		if err != nil {
			return mix, fmt.Errorf("share %s of the mix is %q: want a whole number of percent", name, value)
		}
		*shares[at].value = percent
	}
	return mix, mix.validate()
}

func (m Mix) validate() error {
	tokens := 0
	for _, s := range m.shares() {
		if *s.value < 0 || *s.value > 100 {
			return fmt.Errorf("share %s of the mix is %d: want 0 to 100 percent", s.name, *s.value)
		}
		if s.token != "" {
			tokens += *s.value
		}
	}
	if tokens > 100 {
		return fmt.Errorf("the shares of cards in the mix are %d percent together: want at most 100", tokens)
	}
	return nil
}

// pay picks what a checkout is paid with; roll is 0 to 99.
func (m Mix) pay(roll int) api.PaymentMethod {
	token := "tok_ok"
	for _, s := range m.shares() {
		if s.token == "" {
			continue
		}
		if roll < *s.value {
			token = s.token
			break
		}
		roll -= *s.value
	}
	return api.PaymentMethod{Provider: "sandbox", Token: token}
}
