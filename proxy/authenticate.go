package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"tienda/api"
	"tienda/auth"
	"tienda/web"
)

func (s *Service) authenticate(w http.ResponseWriter, r *http.Request) error {
	login, err := web.Read[api.Login](w, r)
	switch {
	case err != nil:
		return err
	case login.Username == nil || strings.TrimSpace(*login.Username) == "":
		return missing("Username must not be empty")
	case login.Password == nil:
		return missing("Password must not be null")
	}
	return s.answerTokens(w, r, func(ctx context.Context) (api.Session, error) { return s.client.LogIn(ctx, login) })
}

// missing is a 400 with the words that the original system's clients look for in msg.
func missing(text string) error {
	p := api.BadRequest("%s", text)
	p.Msg = "*" + text + "!**"
	return p
}

func (s *Service) refresh(w http.ResponseWriter, r *http.Request) error {
	body, err := web.Read[api.RefreshToken](w, r)
	if err != nil {
		return err
	}
	return s.answerTokens(w, r, func(ctx context.Context) (api.Session, error) {
		return s.client.RotateRefreshToken(ctx, body.RefreshToken)
	})
}

// answerTokens answers with the tokens of a session that begin starts or continues. The key is had
// first: without one nothing should happen, least of all to a refresh token.
func (s *Service) answerTokens(w http.ResponseWriter, r *http.Request, begin func(ctx context.Context) (api.Session, error)) error {
	key, err := s.keys.signing(r.Context())
	if err != nil {
		return err
	}
	ctx, err := s.identity.Context(r.Context())
	if err != nil {
		return err
	}
	session, err := begin(ctx)
	if err != nil {
		return s.refusal(ctx, err)
	}
	caller := auth.Caller{UserID: session.User.UserID, Roles: session.Roles}
	if credential := session.User.Credential; credential != nil && credential.Username != nil {
		caller.Username = *credential.Username
	}
	token, err := auth.IssueUserToken(key, caller, s.now())
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, api.Tokens{
		JWTToken: token, RefreshToken: session.RefreshToken, TokenType: "Bearer", ExpiresIn: int64(auth.UserTokenLife.Seconds()),
	})
}

func (s *Service) logOut(w http.ResponseWriter, r *http.Request) error {
	body, err := web.Read[api.RefreshToken](w, r)
	if err != nil {
		return err
	}
	ctx, err := s.identity.Context(r.Context())
	if err != nil {
		return err
	}
	if err := s.client.RevokeRefreshToken(ctx, body.RefreshToken); err != nil {
		return s.refusal(ctx, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// validate answers whether a token is one of a user and holds at this moment.
func (s *Service) validate(w http.ResponseWriter, r *http.Request) error {
	_, err := s.verifier.Verify(r.Context(), r.PathValue("jwt"))
	if err != nil && !errors.Is(err, auth.ErrToken) {
		return err
	}
	return web.JSON(w, http.StatusOK, err == nil)
}

// refusal is the error of user-service as the client may see it. It refuses users with a 401 of two
// texts; every other 401 or 403 means this component, and is no fault of the user's.
func (s *Service) refusal(ctx context.Context, err error) error {
	p, ok := errors.AsType[*api.Problem](err)
	if !ok || (p.Status != http.StatusUnauthorized && p.Status != http.StatusForbidden) ||
		p.Detail == api.BadCredentials || p.Detail == api.BadRefreshToken {
		return err
	}
	s.log.ErrorContext(ctx, "user-service does not accept the identity of this component", "err", err)
	return api.Unavailable("user-service")
}
