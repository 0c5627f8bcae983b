package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"tienda/api"
	"tienda/load"
)

// administrator is the one of the demo data.
var administrator = load.Credentials{Username: "admin", Password: "0000"}

// admin is an administrator who is logged in.
type admin struct {
	url, token string
	client     *http.Client
}

// patience is how long a shop whose processes are all up may refuse a log-in: breakers that opened while
// a neighbour was away are still open.
const patience = 15 * time.Second

func logIn(ctx context.Context, url string) (*admin, error) {
	a := &admin{url: url, client: &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var tokens api.Tokens
		err := a.call(ctx, http.MethodPost, "/app/api/authenticate", administrator, &tokens)
		if err == nil {
			a.token = tokens.JWTToken
			return a, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (a *admin) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.url+path, body)
	if err != nil {
		return err
	}
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	response, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %.300s", method, path, response.StatusCode, text)
	}
	return json.Unmarshal(text, out)
}

// wares is how many products are sold.
const wares = 20

// stock creates products of which there is enough for all checkouts, and a few that run out.
func (a *admin) stock(ctx context.Context, checkouts int) error {
	for i := range wares {
		quantity := 10 * checkouts
		if i%10 == 9 {
			quantity = max(1, checkouts/100)
		}
		product := map[string]any{
			"productTitle": fmt.Sprintf("Proof %d", i+1), "sku": fmt.Sprintf("PROOF-%d", i+1), "priceUnit": float64(i) + 0.99,
			"quantity": quantity, "category": map[string]any{"categoryId": 1 + i%4},
		}
		if err := a.call(ctx, http.MethodPost, "/product-service/api/products", product, &api.Product{}); err != nil {
			return err
		}
	}
	return nil
}

// unfinished is how many orders are on their way to an end.
func (a *admin) unfinished(ctx context.Context) (int64, error) {
	var orders api.List[api.Order]
	err := a.call(ctx, http.MethodGet, "/order-service/api/orders?status=PENDING&size=1", nil, &orders)
	if err == nil && orders.Page == nil {
		err = fmt.Errorf("the list of orders has no total")
	}
	if err != nil {
		return 0, err
	}
	return orders.Page.TotalElements, nil
}
