// Package cost adds up what an environment costs a month at DigitalOcean: from the list of what it consists of, or from the plans
// of Terraform. Prices and environments are data in this folder, and every sum can be followed item by item. It says what
// the price list says; what is paid for traffic beyond what is included is not in it.
package cost

import (
	"bytes"
	_ "embed" // the two lists
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed prices.yaml
var prices []byte

//go:embed environments.yaml
var environments []byte

// Cents are hundredths of a US dollar.
type Cents int64

// String is the amount in dollars.
func (c Cents) String() string { return fmt.Sprintf("%d.%02d", c/100, c%100) }

// UnmarshalYAML reads dollars.
func (c *Cents) UnmarshalYAML(node *yaml.Node) error {
	whole, part, _ := strings.Cut(node.Value, ".")
	n, err := strconv.ParseUint(whole+(part + "00")[:2], 10, 32)
	if err != nil || len(part) > 2 {
		return fmt.Errorf("line %d: %q is no amount in dollars", node.Line, node.Value)
	}
	*c = Cents(n)
	return nil
}

// Price is what a unit of something costs a month.
type Price struct {
	Name    string `yaml:"name"`
	Dollars Cents  `yaml:"dollars"`
	Kind    string `yaml:"kind"` // node and database have sizes to choose from
	Unit    string `yaml:"unit"`
	Source  string `yaml:"source"`
}

// List is a price list.
type List struct {
	Date      string  `yaml:"date"`
	NodeHours int64   `yaml:"nodeHours"`
	Prices    []Price `yaml:"prices"`
}

// Item is something that is paid for.
type Item struct {
	What  string `yaml:"what"`
	Price string `yaml:"price"`
	Count int64  `yaml:"count"`
	// Least and Most are what autoscaling may make of Count; both are 0 where nothing scales.
	Least int64 `yaml:"least"`
	Most  int64 `yaml:"most"`
	// HoursOfWeek is, for a saving, how long a node is still there; 0 is never.
	HoursOfWeek int64 `yaml:"hoursOfWeek"`
}

// Environment is what an environment consists of.
type Environment struct {
	Documented      int64  `yaml:"documented"` // the architecture's figure in dollars
	HighlyAvailable bool   `yaml:"highlyAvailable"`
	Architecture    []Item `yaml:"architecture"`
	Besides         []Item `yaml:"besides"`
	Savings         []Item `yaml:"savings"`
}

// Bill is what some items cost.
type Bill struct {
	Title    string
	Items    []Item
	Warnings []string
}

// Prices is the list of this program.
func Prices() (*List, error) {
	list := new(List)
	if err := decode(prices, list); err != nil {
		return nil, fmt.Errorf("price list: %w", err)
	}
	if _, err := time.Parse(time.DateOnly, list.Date); err != nil {
		return nil, fmt.Errorf("price list: %w", err)
	}
	return list, nil
}

// fresh is how long a price list is taken as it is; DigitalOcean changes single prices some times a year.
const fresh = 180 * 24 * time.Hour

// Stale is what to do about a list that is old by now, or nothing.
func (l *List) Stale(now time.Time) string {
	date, err := time.Parse(time.DateOnly, l.Date)
	if err == nil && now.Sub(date) < fresh {
		return ""
	}
	return fmt.Sprintf("The price list is of %s, half a year old or more: compare it with https://www.digitalocean.com/pricing, and correct prices and date in cost/prices.yaml.", l.Date)
}

// Environments are those of the architecture, by name.
func Environments() (map[string]Environment, error) {
	all := map[string]Environment{}
	if err := decode(environments, &all); err != nil {
		return nil, fmt.Errorf("environments: %w", err)
	}
	return all, nil
}

func decode(text []byte, into any) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	return decoder.Decode(into)
}

// Of is the price of that name.
func (l *List) Of(name string) (Price, error) {
	for _, p := range l.Prices {
		if p.Name == name {
			return p, nil
		}
	}
	var known []string
	for _, p := range l.Prices {
		known = append(known, p.Name)
	}
	return Price{}, fmt.Errorf("the price list of %s has no %q; it has %s: add the price to cost/prices.yaml", l.Date, name, strings.Join(known, ", "))
}

// Sum is a sum now, and at the floor and the ceiling of autoscaling.
type Sum struct{ Now, Least, Most Cents }

func (i Item) counts() (now, least, most int64) {
	if i.Most == 0 {
		return i.Count, i.Count, i.Count
	}
	return i.Count, i.Least, i.Most
}

// Sum adds items up.
func (l *List) Sum(items []Item) (Sum, error) {
	var sum Sum
	for _, item := range items {
		p, err := l.Of(item.Price)
		if err != nil {
			return sum, fmt.Errorf("%s: %w", item.What, err)
		}
		now, least, most := item.counts()
		sum.Now += p.Dollars * Cents(now)
		sum.Least += p.Dollars * Cents(least)
		sum.Most += p.Dollars * Cents(most)
	}
	return sum, nil
}

// controlPlane is the item of a cluster's control plane.
func controlPlane(highlyAvailable bool) Item {
	if highlyAvailable {
		return Item{What: "highly available control plane", Price: "control-plane-ha", Count: 1}
	}
	return Item{What: "control plane", Price: "control-plane", Count: 1}
}

// Items are those that the architecture counts, and, if everything is asked for, those that are deployed besides.
func (e Environment) Items(everything bool) []Item {
	items := append([]Item{controlPlane(e.HighlyAvailable)}, e.Architecture...)
	if everything {
		items = append(items, e.Besides...)
	}
	return items
}

// Explain says how the architecture's figure compares with the sum, and what it would be right for.
func (l *List) Explain(e Environment) (string, error) {
	items := e.Items(false)
	sum, err := l.Sum(items)
	if err != nil {
		return "", err
	}
	documented := Cents(e.Documented * 100)
	if documented == sum.Now {
		return fmt.Sprintf("The architecture says %d: its items add up to that.", e.Documented), nil
	}
	text := fmt.Sprintf("The architecture says %d and its items add up to %s", e.Documented, sum.Now)
	for i, item := range items {
		used, err := l.Of(item.Price)
		if err != nil {
			return "", err
		}
		for _, other := range l.Prices {
			if used.Kind == "node" && other.Kind == used.Kind && sum.Now+Cents(item.Count)*(other.Dollars-used.Dollars) == documented {
				text += fmt.Sprintf(": %d is what they cost with %d %s %s at %s instead of %s at %s", e.Documented, items[i].Count, item.What, other.Name, other.Dollars, used.Name, used.Dollars)
			}
		}
	}
	return text + ".", nil
}

// Saving is what an item is less when it is switched.
func (l *List) Saving(item Item) (Cents, error) {
	p, err := l.Of(item.Price)
	if err != nil {
		return 0, err
	}
	const hoursOfMonth, hoursOfWeek = 730, 7 * 24
	whole := p.Dollars * Cents(item.Count)
	still := whole * Cents(item.HoursOfWeek*hoursOfMonth) / Cents(hoursOfWeek*l.NodeHours)
	return max(0, whole-still), nil
}

// always is what costs money by default whatever the environment is.
func (l *List) always(e Environment) ([]string, error) {
	ha, err := l.Of("control-plane-ha")
	if err != nil {
		return nil, err
	}
	sum, err := l.Sum(e.Items(false))
	if err != nil || e.HighlyAvailable {
		return nil, err
	}
	return []string{fmt.Sprintf("From Kubernetes 1.36 on a cluster whose ha is not set gets a highly available control plane, which cannot be turned off again: %s instead of %s. deploy/terraform sets ha always.", sum.Now+ha.Dollars, sum.Now)}, nil
}

// Environment writes everything about one environment.
func (l *List) Environment(w io.Writer, name string, e Environment) error {
	explained, err := l.Explain(e)
	if err != nil {
		return err
	}
	warnings, err := l.always(e)
	if err != nil {
		return err
	}
	if err := l.Write(w, Bill{Title: name + ", the items of the architecture", Items: e.Items(false), Warnings: append([]string{explained}, warnings...)}); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := l.Write(w, Bill{Title: name + ", as deployed", Items: e.Items(true)}); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nWhat would be saved by")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, item := range e.Savings {
		saved, err := l.Saving(item)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t  %s\n", saved, item.What)
	}
	return table.Flush()
}

// Together writes what several environments cost in one account, which pays for Spaces and a registry once.
func (l *List) Together(w io.Writer, all map[string]Environment) error {
	names := slices.Sorted(maps.Keys(all))
	for i, everything := range []bool{false, true} {
		var items []Item
		once := map[string]string{}
		for _, name := range names {
			for _, item := range all[name].Items(everything) {
				price, err := l.Of(item.Price)
				if err != nil {
					return err
				}
				if price.Unit == "account" && once[price.Name] != "" {
					continue
				}
				if price.Unit == "account" {
					once[price.Name] = item.What
				}
				items = append(items, item)
			}
		}
		sum, err := l.Sum(items)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s together, %s: %s; paid once for an account: %s.\n", strings.Join(names, " and "), []string{"the items of the architecture", "as deployed"}[i], sum.Now,
			strings.Join(slices.Sorted(maps.Values(once)), ", "))
	}
	return nil
}

// Write writes a bill.
func (l *List) Write(w io.Writer, bill Bill) error {
	sum, err := l.Sum(bill.Items)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: US dollars a month, by the price list of %s\n\n", bill.Title, l.Date)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ITEM\tPRICE OF\tEACH\tNOW\t\tAT LEAST\t\tAT MOST\t")
	for _, item := range bill.Items {
		p, err := l.Of(item.Price)
		if err != nil {
			return err
		}
		now, least, most := item.counts()
		fmt.Fprintf(table, "%s\t%s (%s)\t%s\t%d\t%s\t%d\t%s\t%d\t%s\n", item.What, p.Name, p.Unit, p.Dollars,
			now, p.Dollars*Cents(now), least, p.Dollars*Cents(least), most, p.Dollars*Cents(most))
	}
	fmt.Fprintf(table, "TOTAL\t\t\t\t%s\t\t%s\t\t%s\n", sum.Now, sum.Least, sum.Most)
	if err := table.Flush(); err != nil {
		return err
	}
	for _, warning := range bill.Warnings {
		fmt.Fprintf(w, "\n%s\n", warning)
	}
	return nil
}
