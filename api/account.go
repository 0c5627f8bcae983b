package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Details of the 401 problems that refuse a log-in and a refresh. They never say which of the many
// possible reasons it was.
const (
	BadCredentials  = "Bad credentials"
	BadRefreshToken = "the refresh token is not valid; log in again"
)

// Login is the request to log in.
type Login struct {
	Username *string `json:"username"`
	Password *string `json:"password"`
}

// Tokens is the answer to a log-in and to a refresh. ExpiresIn is the life of JWTToken in seconds.
type Tokens struct {
	JWTToken     string `json:"jwtToken"`
	RefreshToken string `json:"refreshToken"`
	TokenType    string `json:"tokenType"`
	ExpiresIn    int64  `json:"expiresIn"`
}

// RefreshToken is the request to refresh tokens or to log out.
type RefreshToken struct {
	RefreshToken string `json:"refreshToken"`
}

// Session is what user-service tells proxy-client of a user who has just proved who they are. It
// holds the refresh token itself, which is stored nowhere but with the client.
type Session struct {
	User         User     `json:"user"`
	Roles        []string `json:"roles"`
	RefreshToken string   `json:"refreshToken"`
}

// SigningKey signs users' tokens from SignFrom until the next key does, and is good for verifying
// until VerifyUntil, which is zero while no other key is set to follow. Seed is the private key
// (RFC 8032): it is for proxy-client alone.
type SigningKey struct {
	KeyID       string    `json:"keyId"`
	Seed        []byte    `json:"seed"`
	SignFrom    time.Time `json:"signFrom"`
	VerifyUntil time.Time `json:"verifyUntil,omitzero"`
}

// Me is the caller's own account.
type Me struct {
	User      User      `json:"user"`
	Addresses []Address `json:"addresses"`
	Roles     []string  `json:"roles"`
}

// UserExport is everything user-service keeps about one user, but for the password's hash.
type UserExport struct {
	User      User           `json:"user"`
	Addresses []Address      `json:"addresses"`
	Sessions  []SessionStamp `json:"sessions"`
}

// SessionStamp says when a session began, was last refreshed, and ends or ended.
type SessionStamp struct {
	CreatedAt time.Time `json:"createdAt"`
	UsedAt    time.Time `json:"usedAt"`
	EndsAt    time.Time `json:"endsAt"`
}

// PersonalData is everything the shop keeps about one user. The lists hold the rows as their services
// show them.
type PersonalData struct {
	Account    UserExport        `json:"account"`
	Carts      []json.RawMessage `json:"carts"`
	Orders     []json.RawMessage `json:"orders"`
	Payments   []json.RawMessage `json:"payments"`
	Shipments  []json.RawMessage `json:"shipments"`
	Favourites []json.RawMessage `json:"favourites"`
}

// LogIn checks a user's password and begins a session. Only proxy-client may call it. A refusal is a
// 401 with [BadCredentials]; too many failures are a 429.
func (c *Client) LogIn(ctx context.Context, login Login) (Session, error) {
	return send[Session](ctx, c, http.MethodPost, "user-service", "/api/logins", "", login)
}

// RotateRefreshToken goes on with a session: the token is used up and the answer holds the next. A
// token that was used before ends its session. Only proxy-client may call it.
func (c *Client) RotateRefreshToken(ctx context.Context, token string) (Session, error) {
	return send[Session](ctx, c, http.MethodPost, "user-service", "/api/refresh-tokens/rotate", "", RefreshToken{token})
}

// RevokeRefreshToken ends the session of a token; a token that is not known is no error. Only
// proxy-client may call it.
func (c *Client) RevokeRefreshToken(ctx context.Context, token string) error {
	_, err := send[json.RawMessage](ctx, c, http.MethodPost, "user-service", "/api/refresh-tokens/revoke", "", RefreshToken{token})
	return err
}

// SigningKeys returns the keys of users' tokens, those to come included. Only proxy-client may call it.
func (c *Client) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	list, err := get[List[SigningKey]](ctx, c, "user-service", "/api/signing-keys")
	return list.Collection, err
}

// ExportUser returns everything user-service keeps about one user.
func (c *Client) ExportUser(ctx context.Context, id ID) (UserExport, error) {
	return get[UserExport](ctx, c, "user-service", "/api/exports/"+id.String())
}

// OrdersOf returns one page of a user's orders; query holds page, size, sort and the like.
func (c *Client) OrdersOf(ctx context.Context, user ID, query url.Values) (List[Order], error) {
	values := url.Values{"userId": {user.String()}}
	for name, value := range query {
		if name != "userId" {
			values[name] = value
		}
	}
	return get[List[Order]](ctx, c, "order-service", "/api/orders?"+values.Encode())
}

// maxPages bounds what Rows reads: a service that never came to an end would keep it busy for ever.
const maxPages = 1000

// Rows returns all rows of a list, page by page, as the service wrote them; query narrows the list.
func (c *Client) Rows(ctx context.Context, service, path string, query url.Values) ([]json.RawMessage, error) {
	rows := []json.RawMessage{}
	for page := range maxPages {
		values := url.Values{"page": {strconv.Itoa(page)}}
		for name, value := range query {
			values[name] = value
		}
		list, err := get[List[json.RawMessage]](ctx, c, service, path+"?"+values.Encode())
		if err != nil {
			return nil, err
		}
		rows = append(rows, list.Collection...)
		if list.Page == nil || len(list.Collection) < list.Page.Size {
			return rows, nil
		}
	}
	return nil, fmt.Errorf("rows of %s: more than %d pages", service, maxPages)
}
