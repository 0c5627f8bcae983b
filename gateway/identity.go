package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"tienda/api"
)

// Principal is whom a verified token speaks for.
type Principal struct {
	Subject string
	Roles   []string
	// Service names the component a token was issued to; such tokens are refused from outside.
	Service string
}

// identityHeaders are the fields by which proxies tell services who is calling or what was asked for.
// Services might believe them, so they never come in from outside. A name that ends in a dash stands
// for all that begin so. Underscores count as dashes, because some servers make no difference.
var identityHeaders = [...]string{
	"X-User-", "X-Auth-", "X-Authenticated-", "X-Principal-", "X-Client-Cert-", "X-Ssl-Client-",
	"X-User", "X-Username", "X-Userid", "X-Roles", "X-Principal", "X-Service", "X-Client-Cert",
	"Remote-", "X-Remote-", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups",
	"X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Forwarded-Client-Cert",
	"X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Forwarded",
	"X-Original-Url", "X-Rewrite-Url", "X-Original-Host", "X-Http-Method-Override", "X-Method-Override", "X-Http-Method",
}

func isIdentityHeader(name string) bool {
	for _, known := range identityHeaders {
		if len(name) < len(known) || !equalHeader(name[:len(known)], known) {
			continue
		}
		if len(name) == len(known) || known[len(known)-1] == '-' {
			return true
		}
	}
	return false
}

func isForwardedHeader(name string) bool {
	const prefix = "X-Forwarded-"
	return len(name) > len(prefix) && equalHeader(name[:len(prefix)], prefix)
}

func equalHeader(a, b string) bool {
	for i := range len(a) {
		c := a[i]
		if c == '_' {
			c = '-'
		}
		if c|0x20 != b[i]|0x20 {
			return false
		}
	}
	return true
}

// sanitize removes from a client's header what is not the client's to say, and all that concerns this
// connection only. It must run before the filters: fields they set must not fall to a Connection
// field of the client.
func (g *Gateway) sanitize(r *http.Request, header http.Header) (client netip.Addr) {
	upgrade := false
	for _, value := range header["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.TrimSpace(name)
			upgrade = upgrade || strings.EqualFold(name, "Upgrade")
			if !strings.EqualFold(name, "Upgrade") && !isEndToEnd(name) {
				header.Del(name)
			}
		}
	}
	header.Del("Connection")
	// WebSocket is the only protocol to change to. Inside h2c, say, requests would pass unseen.
	if upgrade && strings.EqualFold(header.Get("Upgrade"), "websocket") {
		header.Set("Connection", "Upgrade")
	} else {
		header.Del("Upgrade")
	}
	remote := remoteAddress(r)
	trusted := g.trusts(remote)
	for name := range header {
		if isIdentityHeader(name) || isForwardedHeader(name) && !(trusted && plainForwarded(name)) {
			delete(header, name)
		}
	}
	return g.forward(r, header, remote)
}

// isEndToEnd guards the fields a client must not have removed by naming them in Connection.
func isEndToEnd(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Authorization", "Cookie", "Host", "Content-Length", "Content-Type", "Idempotency-Key", "If-Match", "Origin":
		return true
	}
	return false
}

// plainForwarded are the X-Forwarded fields that a trusted proxy may send.
func plainForwarded(name string) bool {
	switch name {
	case "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix":
		return true
	}
	return false
}

// forward writes the X-Forwarded fields, continuing those of a trusted proxy, and finds the client's
// address: the last in the chain that no trusted proxy has.
func (g *Gateway) forward(r *http.Request, header http.Header, remote netip.Addr) netip.Addr {
	client := remote
	chain := strings.Join(header.Values("X-Forwarded-For"), ",")
	hops := strings.Split(chain, ",")
	for i := len(hops) - 1; i >= 0 && g.trusts(client); i-- {
		address, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		client = address.Unmap().WithZone("")
	}
	if chain != "" {
		chain += ", "
	}
	header.Set("X-Forwarded-For", chain+remote.String())
	if header.Get("X-Forwarded-Host") == "" {
		header.Set("X-Forwarded-Host", r.Host)
	}
	if header.Get("X-Forwarded-Proto") == "" {
		proto := "http"
		if r.TLS != nil {
			proto = "https"
		}
		header.Set("X-Forwarded-Proto", proto)
	}
	return client
}

func remoteAddress(r *http.Request) netip.Addr {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv4Unspecified() // not from a network: a test, or a Unix socket
	}
	return remote.Addr().Unmap().WithZone("")
}

func (g *Gateway) trusts(address netip.Addr) bool {
	for _, proxy := range g.trusted {
		if proxy.Contains(address) {
			return true
		}
	}
	return false
}

func parsePrefixes(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if address, errAddress := netip.ParseAddr(text); errAddress == nil {
			prefix, err = address.Prefix(address.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("tienda.gateway.trusted-proxies: %q: want an address or a network such as 10.0.0.0/8", text)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

// authenticate verifies the bearer token of a request, if it has one. Other kinds of authorization
// are left to the service.
func (g *Gateway) authenticate(ctx context.Context, header Header) (Principal, error) {
	values := header.Values("Authorization")
	if len(values) == 0 {
		return Principal{}, nil
	}
	if len(values) > 1 {
		return Principal{}, api.BadRequest("more than one Authorization field")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Principal{}, nil
	}
	principal, err := g.verify(ctx, strings.TrimSpace(token))
	var problem *api.Problem
	switch {
	case errors.As(err, &problem) && problem.Status >= 500:
		return Principal{}, err
	case err != nil || principal.Subject == "" && principal.Service == "":
		return Principal{}, errInvalidToken()
	case principal.Service != "":
		return Principal{}, api.Unauthorized("tokens of services are not accepted here")
	}
	return principal, nil
}

func errInvalidToken() error {
	p := api.Unauthorized("the token is invalid or has expired")
	return &challenge{p, `Bearer error="invalid_token", error_description="the token is invalid or has expired"`}
}

func isChallenge(err error) bool {
	_, ok := errors.AsType[*challenge](err)
	return ok
}

// challenge is a 401 with its own WWW-Authenticate.
type challenge struct {
	*api.Problem
	authenticate string
}

func (c *challenge) Unwrap() error { return c.Problem }
