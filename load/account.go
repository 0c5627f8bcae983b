package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"tienda/api"
)

// Credentials are the username and password of a person who has an account.
type Credentials struct {
	Username, Password string
}

// account is a user of the shop who is logged in when needed. It is safe for concurrent use.
type account struct {
	shop *shop
	Credentials
	id api.ID

	mu     sync.Mutex
	tokens api.Tokens
	until  time.Time // when the access token had better be refreshed
}

// token is an access token that is good for a while: the one at hand, a refreshed one, or that of a new
// session.
func (a *account) token(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens.JWTToken != "" && time.Now().Before(a.until) {
		return a.tokens.JWTToken, nil
	}
	if refresh := a.tokens.RefreshToken; refresh != "" {
		// A refresh token is good for one call, answered or not.
		a.tokens = api.Tokens{}
		answer, err := a.shop.once(ctx, call{step: stepRefresh, method: http.MethodPost, path: "/app/api/authenticate/refresh", body: api.RefreshToken{RefreshToken: refresh}}, "")
		if err == nil && answer.status == http.StatusOK {
			return a.take(answer)
		}
	}
	answer, err := a.shop.once(ctx, call{step: stepLogIn, method: http.MethodPost, path: "/app/api/authenticate", body: api.Login{Username: &a.Username, Password: &a.Password}}, "")
	if err != nil {
		return "", err
	}
	if answer.status != http.StatusOK {
		return "", &refusal{what: "log in as " + a.Username, answer: answer, denied: answer.status == http.StatusUnauthorized}
	}
	return a.take(answer)
}

// take keeps the tokens of an answer. They are refreshed well before they end, so that no call is made
// with one that ends on the way.
func (a *account) take(answer answer) (string, error) {
	var tokens api.Tokens
	if err := answer.decode(&tokens); err != nil {
		return "", err
	}
	a.tokens, a.until = tokens, time.Now().Add(time.Duration(tokens.ExpiresIn)*time.Second*3/4)
	return tokens.JWTToken, nil
}

// drop forgets a token that the shop did not accept, unless another call has done so already.
func (a *account) drop(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens.JWTToken == token {
		a.tokens.JWTToken = ""
	}
}

// patience is how long an account may take to be made, and an administrator to log in.
const patience = 2 * time.Minute

// persist calls do until it succeeds, or ctx or the time ends; then its last error is returned. A
// refusal that no later try can change ends it at once.
func persist(ctx context.Context, most time.Duration, do func() error) error {
	deadline := time.Now().Add(most)
	for n := 0; ; n++ {
		err := do()
		if err == nil {
			return nil
		}
		asked := time.Duration(0)
		if r, ok := errors.AsType[*refusal](err); ok {
			if r.denied || r.answer.final() {
				return err
			}
			asked = r.answer.retryAfter
		}
		wait := backoff(n, asked)
		if time.Now().Add(wait).After(deadline) || !pause(ctx, wait) {
			return err
		}
	}
}

// register makes the account in the shop and logs it in.
func (a *account) register(ctx context.Context, n int) error {
	body := map[string]any{"firstName": "Load", "lastName": fmt.Sprintf("Customer %d", n), "email": a.Username + "@example.com",
		"credential": map[string]string{"username": a.Username, "password": a.Password}}
	err := persist(ctx, patience, func() error {
		// The name is ours alone: when it is taken, a request of ours took it whose answer was lost, or that
		// somebody on the way sent twice. The log-in behind it proves that.
		answer, err := a.shop.once(ctx, call{step: stepRegister, method: http.MethodPost, path: "/app/api/users", body: body}, "")
		if err != nil {
			return err
		}
		if answer.status != http.StatusCreated && answer.status != http.StatusConflict {
			return &refusal{what: "register " + a.Username, answer: answer}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return persist(ctx, patience, func() error {
		me, err := get[api.Me](ctx, a.shop, stepAccount, a, "/app/api/me")
		a.id = me.User.UserID
		return err
	})
}

// isDial reports whether a call ended before it was sent, for want of a connection.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
