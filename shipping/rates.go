package shipping

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"tienda/api"
	"tienda/web"
)

// Settings are those under tienda.shipping: what shipping costs, by how far it goes. All amounts are
// minor units of the shop's currency.
type Settings struct {
	Country  string   `koanf:"country"` // where parcels leave from, ISO 3166 alpha-2
	Region   []string `koanf:"region"`  // countries near by
	Standard Tariff   `koanf:"standard"`
	Express  Tariff   `koanf:"express"`
}

// Tariff is the price of one way to ship: a fee by zone for the first item, and one for each more.
type Tariff struct {
	Home   uint32 `koanf:"home"`
	Region uint32 `koanf:"region"`
	World  uint32 `koanf:"world"`
	Item   uint32 `koanf:"item"`
}

// DefaultSettings ships from Tunisia.
func DefaultSettings() Settings {
	return Settings{
		Country: "TN", Region: []string{"DZ", "LY", "MA", "MR", "IT", "FR", "MT"},
		Standard: Tariff{Home: 500, Region: 900, World: 1900, Item: 50},
		Express:  Tariff{Home: 1200, Region: 2500, World: 4500, Item: 150},
	}
}

// Ways to ship.
const (
	serviceStandard = "STANDARD"
	serviceExpress  = "EXPRESS"
)

// zone is how far a parcel goes.
type zone int

const (
	zoneHome zone = iota
	zoneRegion
	zoneWorld
)

func (s Settings) zone(country string) zone {
	switch {
	case country == s.Country:
		return zoneHome
	case slices.Contains(s.Region, country):
		return zoneRegion
	}
	return zoneWorld
}

// fee is the price of shipping a number of items.
func (t Tariff) fee(z zone, items int64) int64 {
	first := [...]uint32{zoneHome: t.Home, zoneRegion: t.Region, zoneWorld: t.World}[z]
	return int64(first) + int64(t.Item)*(items-1)
}

func (s *Service) rates(w http.ResponseWriter, r *http.Request) error {
	in, err := web.Read[api.RateRequest](w, r)
	if err != nil {
		return err
	}
	if err := api.Valid(append(in.ShippingAddress.Validate("shippingAddress"), itemErrors(in.Items)...)); err != nil {
		return err
	}
	var count int64
	for _, item := range in.Items {
		count += item.Quantity
	}
	to := s.settings.zone(in.ShippingAddress.Country)
	type way struct {
		name string
		days int
		fee  int64
	}
	ways := []way{
		{serviceStandard, [...]int{zoneHome: 3, zoneRegion: 6, zoneWorld: 12}[to], s.settings.Standard.fee(to, count)},
		{serviceExpress, [...]int{zoneHome: 1, zoneRegion: 2, zoneWorld: 4}[to], s.settings.Express.fee(to, count)},
	}
	slices.SortStableFunc(ways, func(a, b way) int { return cmp.Compare(a.fee, b.fee) })
	rates := make([]api.Rate, len(ways))
	for i, way := range ways {
		rates[i] = api.Rate{Service: way.name, Amount: s.currency.Amount(way.fee), Currency: s.currency.Code, Days: way.days}
	}
	return web.JSON(w, http.StatusOK, rates)
}

// Bounds of what one shipment holds; together they keep a fee inside what an amount of money may be.
const (
	maxLines    = 1000
	maxQuantity = 99_999
)

func itemErrors(items []api.ItemQuantity) []api.FieldError {
	if len(items) == 0 || len(items) > maxLines {
		return []api.FieldError{{Field: "items", Reason: fmt.Sprintf("must hold 1 to %d products", maxLines)}}
	}
	var errors []api.FieldError
	seen := map[api.ID]bool{}
	for i, item := range items {
		field := fmt.Sprintf("items[%d].", i)
		if item.ProductID <= 0 {
			errors = append(errors, api.FieldError{Field: field + "productId", Reason: "must be positive"})
		}
		if item.Quantity < 1 || item.Quantity > maxQuantity {
			errors = append(errors, api.FieldError{Field: field + "quantity", Reason: fmt.Sprintf("must be 1 to %d", maxQuantity)})
		}
		if seen[item.ProductID] {
			errors = append(errors, api.FieldError{Field: field + "productId", Reason: "appears twice"})
		}
		seen[item.ProductID] = true
	}
	return errors
}
