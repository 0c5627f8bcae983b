//go:build faults

package fault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Rules are what a file of faults says.
type Rules struct {
	// Seed begins the random numbers of every rule with a probability.
	Seed uint64 `yaml:"seed"`
	// Record is a file to which the name of every point that is passed is added, a line for each.
	Record string `yaml:"record"`
	// Crashes are points at which the process kills itself with SIGKILL.
	Crashes []Crash `yaml:"crashes"`
	// Calls are what goes wrong between neighbours; the first rule that applies to a call wins.
	Calls []Call `yaml:"calls"`
}

// When says which of the occasions that a rule is about it takes: exactly one of the two is set.
type When struct {
	Hit         int     `yaml:"hit"` // the first, second, … since the file was read
	Probability float64 `yaml:"probability"`
}

// Crash is a rule about points.
type Crash struct {
	At   string `yaml:"at"` // name of a point; * is anything
	When `yaml:",inline"`
}

// Call is a rule about calls to a neighbour.
type Call struct {
	From  string `yaml:"from"`  // the component that calls; any when empty
	To    string `yaml:"to"`    // the component called; any when empty
	Route string `yaml:"route"` // "POST /payment-service/api/payments/{paymentId}/capture"; * is anything; any when empty
	When  `yaml:",inline"`
	// Answer is what becomes of the answer.
	Answer string        `yaml:"answer"`
	Delay  time.Duration `yaml:"delay"`  // of late
	Use    string        `yaml:"use"`    // of twice: the answer that is used, first or second
	Status int           `yaml:"status"` // of error
}

// What can become of an answer.
const (
	late   = "late"  // it comes after a delay
	twice  = "twice" // the request arrives twice
	never  = "never" // the request takes effect, and the caller waits in vain
	refuse = "error" // the request does not arrive, and an error is answered
	cut    = "cut"   // the connection breaks in the middle of the answer's body
)

// Known is what the names in a file can stand for.
type Known struct {
	Components map[string]string // by name; the first segment of the paths below which they serve
	Routes     []string          // "POST /order-service/api/carts/{cartId}/checkout"
}

// Points are the names of all crash points.
func (k Known) Points() []string {
	points := strings.Split(strings.TrimSpace(pointsFile), "\n")
	for _, route := range k.Routes {
		points = append(points, beforeAnswer+route, midAnswer+route)
	}
	return points
}

// Parse reads a file of faults and checks every name in it.
func Parse(text []byte, known Known) (*Rules, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	rules := &Rules{}
	if err := decoder.Decode(rules); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	points := known.Points()
	for i, crash := range rules.Crashes {
		err := crash.check()
		if err == nil && !slices.ContainsFunc(points, expression(crash.At).MatchString) {
			err = fmt.Errorf("at: there is no point %q; --fault-points prints those there are", crash.At)
		}
		if err != nil {
			return nil, fmt.Errorf("crashes, rule %d: %w", i+1, err)
		}
	}
	for i := range rules.Calls {
		if err := rules.Calls[i].check(known); err != nil {
			return nil, fmt.Errorf("calls, rule %d: %w", i+1, err)
		}
	}
	return rules, nil
}

func (w When) check() error {
	switch {
	case (w.Hit != 0) == (w.Probability != 0):
		return errors.New("give either hit or probability")
	case w.Hit < 0:
		return fmt.Errorf("hit is %d: want 1 for the first time, 2 for the second", w.Hit)
	case w.Probability < 0 || w.Probability > 1:
		return fmt.Errorf("probability is %v: want more than 0 and at most 1", w.Probability)
	}
	return nil
}

func (c *Call) check(known Known) error {
	if err := c.When.check(); err != nil {
		return err
	}
	for _, name := range []struct{ key, value string }{{"from", c.From}, {"to", c.To}} {
		if _, ok := known.Components[name.value]; !ok && name.value != "" {
			return fmt.Errorf("%s: there is no component %q", name.key, name.value)
		}
	}
	if c.Route != "" && !slices.ContainsFunc(known.Routes, expression(c.Route).MatchString) {
		return fmt.Errorf("route: there is no route %q; --fault-points prints those there are", c.Route)
	}
	if c.Use == "" {
		c.Use = "second"
	}
	if c.Status == 0 {
		c.Status = http.StatusServiceUnavailable
	}
	switch {
	case !slices.Contains([]string{late, twice, never, refuse, cut}, c.Answer):
		return fmt.Errorf("answer is %q: want late, twice, never, error or cut", c.Answer)
	case (c.Answer == late) != (c.Delay > 0):
		return errors.New("delay belongs to answer: late, which needs one, such as 2s")
	case c.Use != "first" && c.Use != "second":
		return fmt.Errorf("use is %q: want first or second", c.Use)
	case c.Status < 400 || c.Status > 599:
		return fmt.Errorf("status is %d: want 400 to 599", c.Status)
	}
	return nil
}

// expression is a name with * for anything and {id} for one segment of a path.
func expression(name string) *regexp.Regexp {
	var out strings.Builder
	for rest := name; rest != ""; {
		i := strings.IndexAny(rest, "*{")
		if i < 0 {
			out.WriteString(regexp.QuoteMeta(rest))
			break
		}
		out.WriteString(regexp.QuoteMeta(rest[:i]))
		if closing := strings.IndexByte(rest[i:], '}'); rest[i] == '{' && closing > 0 {
			out.WriteString(`[^/]+`)
			rest = rest[i+closing+1:]
			continue
		}
		if rest[i] == '*' {
			out.WriteString(`.*`)
		} else {
			out.WriteString(regexp.QuoteMeta(rest[i : i+1]))
		}
		rest = rest[i+1:]
	}
	return regexp.MustCompile(`^` + out.String() + `$`)
}

// occasion counts what a rule is about and says when it applies.
type occasion struct {
	When
	seen   int
	random *rand.Rand
}

func newOccasion(when When, seed uint64, rule int) occasion {
	return occasion{When: when, random: rand.New(rand.NewPCG(seed, uint64(rule)))}
}

func (o *occasion) now() bool {
	o.seen++
	return o.seen == o.Hit || (o.Hit == 0 && o.random.Float64() < o.Probability)
}
