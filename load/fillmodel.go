package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dice are random numbers that follow from the seed, a stream and the number of what they are for, so that
// each table can make an order or a product again without asking the others.
type dice struct {
	*rand.Rand
	pcg          *rand.PCG
	seed, stream uint64
}

// Streams of dice.
const (
	streamProduct = iota + 1
	streamUser
	streamOrder
	streamWords
	streamPassword
)

func newDice(seed, stream uint64) *dice {
	pcg := rand.NewPCG(0, 0)
	return &dice{rand.New(pcg), pcg, seed, stream}
}

// roll begins the numbers of thing i.
func (d *dice) roll(i int) { d.pcg.Seed(d.seed^d.stream<<56, uint64(i)*0x9e3779b97f4a7c15) }

// skewed is a number below n of which the small ones come far more often.
func (d *dice) skewed(n int, power float64) int {
	return min(n-1, int(float64(n)*math.Pow(d.Float64(), power)))
}

// vocabulary are the words of titles. Nouns and adjectives are few and common, names are many and rare.
type vocabulary struct {
	nouns, adjectives, colours, makers, models []string
}

func newVocabulary() vocabulary {
	v := vocabulary{
		nouns: strings.Fields(`Laptop Keyboard Shirt Mouse Monitor Jacket Shoe Watch Dress Headphones Lamp Backpack Chair Desk Camera Phone
			Tablet Speaker Charger Cable Belt Scarf Pullover Jeans Boot Trousers Console Controller Puzzle Novel Kettle Toaster Blender Pan Knife
			Bottle Mug Pillow Blanket Towel Mirror Clock Vase Basket Tent Helmet Bicycle Pump Ball Racket Glove Sock Hat Cap Umbrella Wallet
			Suitcase Notebook Pencil Printer Scanner Router Switch Drive Card Case Stand Filter Brush Drill Hammer Saw Ladder Hose Seed Planter`),
		adjectives: strings.Fields(`Classic Portable Wireless Compact Premium Light Slim Smart Heavy Soft Quiet Fast Warm Cool Modern Vintage
			Outdoor Foldable Waterproof Ergonomic Organic Recycled Handmade Digital Mechanical Automatic Travel Kids Professional Everyday`),
		colours: strings.Fields(`Black White Blue Red Green Grey Silver Brown Beige Navy Olive Pink Orange Yellow Purple Gold`),
	}
	dice := newDice(0, streamWords)
	dice.roll(0)
	v.makers = madeUp(dice, 3000, 2+dice.IntN(2))
	for n := range 1500 {
		v.models = append(v.models, string(rune('A'+n%26))+strconv.Itoa(100+n/26*7))
	}
	return v
}

// madeUp makes n different names of syllables.
func madeUp(dice *dice, n, syllables int) []string {
	consonants, vowels := "bcdfghjklmnprstvwz", "aeiou"
	seen := map[string]bool{}
	var names []string
	for len(names) < n {
		var name []byte
		for range syllables {
			name = append(name, consonants[dice.IntN(len(consonants))], vowels[dice.IntN(len(vowels))])
		}
		name = append(name, consonants[dice.IntN(len(consonants))])
		name[0] -= 'a' - 'A'
		if !seen[string(name)] {
			seen[string(name)] = true
			names = append(names, string(name))
		}
	}
	return names
}

// fillProduct is one product of the catalogue.
type fillProduct struct {
	title, sku string
	price      int64 // minor units
	category   int64
	left       int64 // on the shelf after all orders
	published  bool
	createdAt  int64
}

// productMaker makes products. It is not for several goroutines at once.
type productMaker struct {
	p    *fillPlan
	dice *dice
}

func (p *fillPlan) newProductMaker() *productMaker {
	return &productMaker{p, newDice(p.opts.Seed, streamProduct)}
}

func (m *productMaker) product(i int) fillProduct {
	d, words := m.dice, &m.p.words
	d.roll(i)
	maker := words.makers[d.skewed(len(words.makers), 2)]
	title := maker
	for range 1 + d.IntN(2) {
		title += " " + words.adjectives[d.skewed(len(words.adjectives), 1.5)]
	}
	title += " " + words.nouns[d.skewed(len(words.nouns), 2)]
	if d.IntN(3) > 0 {
		title += " " + words.colours[d.IntN(len(words.colours))]
	}
	title += " " + words.models[d.IntN(len(words.models))]
	whole := int64(4 * math.Exp(1.2*math.Abs(d.NormFloat64())) * float64(1+d.IntN(12)))
	product := fillProduct{
		title: title, sku: strings.ToUpper(maker[:3]) + "-" + strconv.FormatInt(m.p.first.product+int64(i), 10),
		price: whole*100 - 1, category: m.p.categories[d.skewed(len(m.p.categories), 1.5)], published: d.IntN(200) > 0,
		// The catalogue was there before the first order.
		createdAt: m.p.from - int64(m.p.opts.Products-i)*(30*24*time.Hour).Microseconds()/int64(m.p.opts.Products),
	}
	if d.IntN(12) > 0 {
		product.left = 1 + int64(d.skewed(500, 2))
	}
	return product
}

// fillKind is what became of an order.
type fillKind int

const (
	fillPlain      fillKind = iota // never checked out
	fillDeclined                   // the card was declined
	fillOutOfStock                 // nothing was there to reserve
	fillConfirmed                  // paid, and still in the warehouse
	fillCancelled                  // paid, and cancelled before the parcel left
	fillShipped
	fillDelivered
	fillReturned // the parcel came back, and the money went back
)

// paid reports whether money was taken for the order.
func (k fillKind) paid() bool { return k >= fillConfirmed }

// reserved reports whether stock was taken for the order.
func (k fillKind) reserved() bool { return k >= fillConfirmed }

// refunded reports whether the money went back.
func (k fillKind) refunded() bool { return k == fillCancelled || k == fillReturned }

// sent reports whether a parcel left.
func (k fillKind) sent() bool { return k >= fillShipped }

// fillOrder is one order with all that follows from it. Moments are microseconds.
type fillOrder struct {
	kind                        fillKind
	id, cart, payment, shipment int64
	operation                   int64 // the first of up to three
	user                        int   // its number among those that are filled
	userID                      int64
	at                          int64 // the order; what follows is not earlier
	confirmedAt, cancelledAt    int64
	labelAt, sentAt, arrivedAt  int64
	express                     bool
	lines                       []fillLine
	subtotal, shipping, total   int64
}

type fillLine struct {
	product  int // its number among those that are filled
	id       int64
	quantity int64
	price    int64
}

// orderMaker makes orders; each is good until the next. It is not for several goroutines at once.
type orderMaker struct {
	p        *fillPlan
	dice     *dice
	products *productMaker
	o        fillOrder
}

func (p *fillPlan) newOrderMaker() *orderMaker {
	return &orderMaker{p: p, dice: newDice(p.opts.Seed, streamOrder), products: p.newProductMaker()}
}

func (m *orderMaker) order(i int) *fillOrder {
	d, p, n := m.dice, m.p, int64(i)
	d.roll(i)
	o := &m.o
	user := d.skewed(p.opts.Users, 1.7)
	*o = fillOrder{
		id: p.first.order + n, cart: p.first.cart + n, payment: p.first.payment + n, shipment: p.first.shipment + n, operation: p.first.operation + 3*n,
		user: user, userID: p.first.user + int64(user),
		at: p.from + n*(p.to-p.from)/int64(p.opts.Orders), express: d.IntN(5) == 0, lines: o.lines[:0],
	}
	o.kind = m.kind(float64(i) / float64(p.opts.Orders))
	second, hour := time.Second.Microseconds(), time.Hour.Microseconds()
	o.confirmedAt = o.at + second/5 + d.Int64N(second)
	o.cancelledAt = o.confirmedAt + 60*second + d.Int64N(600*second)
	o.labelAt = o.confirmedAt + hour + d.Int64N(20*hour)
	o.sentAt = o.labelAt + hour + d.Int64N(10*hour)
	o.arrivedAt = o.sentAt + 12*hour + d.Int64N(100*hour)
	items := int64(0)
	for range 1 + d.skewed(4, 1.6) {
		product := d.skewed(p.opts.Products, 2.5)
		if slices.ContainsFunc(o.lines, func(l fillLine) bool { return l.product == product }) {
			continue
		}
		l := fillLine{product: product, id: p.first.product + int64(product), quantity: 1 + int64(d.skewed(4, 4)), price: m.products.product(product).price}
		o.lines = append(o.lines, l)
		o.subtotal += l.price * l.quantity
		items += l.quantity
	}
	slices.SortFunc(o.lines, func(a, b fillLine) int { return a.product - b.product })
	o.shipping = 500 + 50*(items-1)
	if o.express {
		o.shipping = 1200 + 150*(items-1)
	}
	o.total = o.subtotal + o.shipping
	return o
}

// kind is what became of an order that was placed at a part of the two years, 0 to 1: the last ones are
// still under way.
func (m *orderMaker) kind(part float64) fillKind {
	roll := m.dice.IntN(100)
	switch {
	case roll < 3:
		return fillPlain
	case roll < 8:
		return fillDeclined
	case roll < 10:
		return fillOutOfStock
	case roll < 14:
		return fillCancelled
	case part > 0.997:
		return fillConfirmed
	case part > 0.99:
		return fillShipped
	case roll < 18:
		return fillReturned
	}
	return fillDelivered
}

// service is how the parcel goes.
func (o *fillOrder) service() string {
	if o.express {
		return "EXPRESS"
	}
	return "STANDARD"
}

// tracking is the number of the parcel, once it has left.
func (o *fillOrder) tracking() string {
	if o.kind.sent() {
		return "RP" + strconv.FormatInt(o.shipment, 10)
	}
	return ""
}

// carrier is who takes the parcel, once it has a label.
func (o *fillOrder) carrier() string {
	if o.kind.sent() {
		return "Rapid Poste"
	}
	return ""
}

// fillUser is one customer.
type fillUser struct {
	id                    int64
	first, last           string
	at                    int64
	street, postcode      string
	city                  string
	second                bool // has another address
	cart                  bool // has an open cart with items
	cartProduct, cartMany int
}

type userMaker struct {
	p    *fillPlan
	dice *dice
}

func (p *fillPlan) newUserMaker() *userMaker { return &userMaker{p, newDice(p.opts.Seed, streamUser)} }

func (m *userMaker) user(i int) fillUser {
	d, p := m.dice, m.p
	d.roll(i)
	firsts := []string{"Amal", "Selim", "Ines", "Youssef", "Leila", "Omar", "Sara", "Karim", "Nour", "Mehdi", "Rania", "Anis", "Salma", "Walid"}
	cities := [][2]string{{"Tunis", "1000"}, {"Sfax", "3000"}, {"Sousse", "4000"}, {"Carthage", "2016"}, {"Bizerte", "7000"}, {"Kairouan", "3100"}, {"Monastir", "5000"}}
	city := cities[d.IntN(len(cities))]
	return fillUser{
		id: p.first.user + int64(i), first: firsts[d.IntN(len(firsts))], last: p.words.makers[d.IntN(len(p.words.makers))],
		at:     p.from - int64(p.opts.Users-i)*(30*24*time.Hour).Microseconds()/int64(p.opts.Users),
		street: strconv.Itoa(1+d.IntN(180)) + " rue " + p.words.makers[d.skewed(len(p.words.makers), 2)], postcode: city[1], city: city[0],
		second: d.IntN(4) == 0, cart: d.IntN(10) == 0, cartProduct: d.skewed(p.opts.Products, 2.5), cartMany: 1 + d.IntN(3),
	}
}
