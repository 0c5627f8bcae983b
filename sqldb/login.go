package sqldb

import (
	"context"
	"fmt"
	"net"
)

// Login is how programs other than this one, such as those that come with a database server, reach the
// server of a data source.
type Login struct {
	Host, Port, User, Password string
	// Encrypted asks for TLS, Verified for a look at the server's certificate as well, and Named at the host's name in it.
	Encrypted, Verified, Named bool
	// Roots is the file with the certificates that the server's is checked with; those of the system when empty.
	Roots string
}

// LoginOf reads the data source of a server; an embedded database has none.
func LoginOf(ctx context.Context, config Config) (Login, error) {
	dsn, err := mysqlConfig(ctx, withoutCreation(config))
	if err != nil {
		return Login{}, err
	}
	host, port, err := net.SplitHostPort(dsn.Addr)
	if err != nil {
		return Login{}, fmt.Errorf("data source %s: %w", redact(config.URL), err)
	}
	u, err := serverOf(config)
	if err != nil {
		return Login{}, err
	}
	return Login{Host: host, Port: port, User: dsn.User, Password: dsn.Passwd, Encrypted: dsn.TLSConfig != tlsOff && dsn.TLSConfig != tlsPreferred,
		Verified: dsn.TLSConfig == tlsSigned || dsn.TLSConfig == tlsVerified, Named: dsn.TLSConfig == tlsVerified, Roots: u.Query().Get("serverSslCert")}, nil
}
