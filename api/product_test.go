package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"tienda/api"
)

// Whatever decodes is either refused for a reason or has a price that the currency can hold.
func FuzzProduct(f *testing.F) {
	for _, seed := range []string{
		`{"productId":1,"productTitle":"asus","imageUrl":"xxx","sku":"s","priceUnit":99.99,"quantity":50,"category":{"categoryId":1}}`,
		`{"productId":"1","priceUnit":"1e2","quantity":"5","categoryDto":{"categoryId":"3","parentCategoryDto":{"categoryId":1}}}`,
		`{"priceUnit":-0.001,"quantity":-1,"currency":"EUR"}`, `{"priceUnit":9e18}`, `{"createdAt":"2026-03-01T12:00:00Z","published":false}`, `{`,
	} {
		f.Add(seed)
	}
	usd := api.Currency{Code: "USD", Digits: 2}
	f.Fuzz(func(t *testing.T, text string) {
		var product api.Product
		if json.Unmarshal([]byte(text), &product) != nil {
			return
		}
		if err := product.Validate(usd); err != nil {
			if !api.IsStatus(err, 422) || strings.HasSuffix(err.Error(), ": ") {
				t.Errorf("Validate(%s) = %v, want a 422 with a reason", text, err)
			}
			return
		}
		if product.PriceUnit != nil {
			if minor, err := usd.Minor(*product.PriceUnit); err != nil || minor < 0 {
				t.Errorf("Validate(%s) let the price %s pass: %d, %v", text, product.PriceUnit, minor, err)
			}
		}
		if _, err := json.Marshal(product); err != nil {
			t.Errorf("encode %s again: %v", text, err)
		}
	})
}
