// Package sqldb opens a component's own database, migrates it and runs transactions on it.
//
// MySQL (and MariaDB) and SQLite take the same statements: "?" placeholders, LIMIT ? OFFSET ?,
// LastInsertId, no RETURNING, no engine functions; [Tx.LockRow] locks. Migrations are written in MySQL's
// dialect; for SQLite the differences listed at [sqliteDDL] are rewritten while goose reads the files.
//
// What both engines promise through this package: a transaction is durable when [DB.Tx] returns nil,
// instants are UTC microseconds in BIGINT columns ([Instant]), text compares by its bytes, an UPDATE
// counts the rows it matched, and driver errors come out as [ErrNotFound], [ErrConflict] or
// [ErrReference]. Isolation is not promised beyond READ COMMITTED: writers use conditional
// UPDATE … WHERE and look at the number of rows. No other package imports a driver.
package sqldb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
)

// Config says where a database is.
type Config struct {
	// URL is a data source: "jdbc:mysql://host:3306/schema?params", "jdbc:mariadb://…", "mysql://…",
	// or "sqlite:PATH". Parameters of JDBC that have no meaning here are ignored.
	URL string
	// Username and Password are those of MySQL; they win over what the URL carries.
	Username, Password string
	// Observe, when set, is told how long each statement took; op is its first word in lower case.
	Observe func(op string, elapsed time.Duration)
	// Statement, when set, is told of each statement that ran, for tests that look at their plans.
	Statement func(query string, args []any)
	// Bulk is for a tool that writes millions of rows: [Open] fails with [ErrInUse] when somebody else has
	// the database open, foreign keys are not checked, and on SQLite a loss of power can lose all of it.
	Bulk bool
}

// DB is one component's database. It is safe for concurrent use.
//
// Reads and transactions go to separate connections. On SQLite that is one writer, so that transactions
// queue in Go instead of failing with SQLITE_BUSY, and a few readers that never wait for it (WAL). On MySQL
// those of transactions have autocommit off, so that a transaction begins with its first statement.
type DB struct {
	read, write *sql.DB
	engine      engine
	batches     bool // see [Tx.Later]
	guards      bool // the server knows the guard
	observe     func(op string, elapsed time.Duration)
	statement   func(query string, args []any)
}

type engine string

const (
	engineSQLite engine = "sqlite"
	engineMySQL  engine = "mysql"
)

// Open connects to the database of config and brings its schema up to date with every set of
// migrations, in order. Replicas that start together migrate one after the other.
func Open(ctx context.Context, config Config, migrations ...Migrations) (*DB, error) {
	db, err := connect(ctx, config)
	if err != nil {
		return nil, err
	}
	for _, set := range migrations {
		if err := db.migrate(ctx, set); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

// newDB is a database before it has connections.
func newDB(config Config) *DB {
	db := &DB{observe: config.Observe, statement: config.Statement}
	if db.observe == nil {
		db.observe = func(string, time.Duration) {}
	}
	if db.statement == nil {
		db.statement = func(string, []any) {}
	}
	return db
}

func connect(ctx context.Context, config Config) (*DB, error) {
	db := newDB(config)
	if path, ok := strings.CutPrefix(config.URL, "sqlite:"); ok {
		if config.Bulk {
			return db, db.openBulkSQLite(ctx, path)
		}
		return db, db.openSQLite(ctx, path)
	}
	dsn, err := mysqlConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("data source %s: %w", redact(config.URL), err)
	}
	dsn.Params["autocommit"] = "0"
	dsn.MultiStatements = true // for [Tx.Later]; no statement is made of input
	inTransaction, err := mysql.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("data source %s: %w", redact(config.URL), err)
	}
	db.engine = engineMySQL
	if config.Bulk {
		db.read = pool(readCommitted{connector}, 16)
		db.write = db.read
	} else {
		db.read = pool(preparing{readCommitted{connector}, false}, 8)
		db.write = pool(preparing{readCommitted{inTransaction}, true}, 12)
		db.batches = true
	}
	if err := db.read.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s as %q: %w", redact(config.URL), dsn.User, err), db.Close())
	}
	db.guards = db.batches && tryGuard(ctx, db.write)
	if config.Bulk {
		if err := db.alone(ctx); err != nil {
			return nil, errors.Join(err, db.write.Close())
		}
	}
	return db, nil
}

// pool is up to most connections to a server. Those that were opened under load stay for a while: to open
// one costs more than all the statements of a transaction.
func pool(connector driver.Connector, most int) *sql.DB {
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	db.SetConnMaxIdleTime(time.Minute)
	db.SetConnMaxLifetime(5 * time.Minute)
	return db
}

func (db *DB) openSQLite(ctx context.Context, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("open database %s: %w", path, err)
	}
	db.engine = engineSQLite
	// A small page cache keeps eleven components in one process modest; the operating system caches the rest.
	pragmas := "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=foreign_keys(1)&_pragma=cache_size(-1024)&_pragma=temp_store(MEMORY)"
	writer, err := sqlite.NewConnector("file:" + url.PathEscape(path) + "?_txlock=immediate&" + pragmas)
	if err != nil {
		return fmt.Errorf("open database %s: %w", path, err)
	}
	reader, err := sqlite.NewConnector("file:" + url.PathEscape(path) + "?" + pragmas + "&_pragma=query_only(1)")
	if err != nil {
		return fmt.Errorf("open database %s: %w", path, err)
	}
	db.write = sql.OpenDB(preparing{writer, false})
	db.write.SetMaxOpenConns(1)
	if err := ready(ctx, db.write); err != nil {
		return errors.Join(fmt.Errorf("open database %s: %w", path, err), db.write.Close())
	}
	db.read = sql.OpenDB(preparing{reader, false})
	db.read.SetMaxOpenConns(4)
	db.read.SetMaxIdleConns(2)
	return nil
}

// ready waits for a SQLite database that others open at the same moment: who makes it a WAL database needs it
// for itself, and to that SQLite says SQLITE_BUSY at once, whatever the timeout.
func ready(ctx context.Context, db *sql.DB) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := db.PingContext(ctx)
		if err == nil || !givenUp(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// serverOf reads the URL of a server; the error has no password.
func serverOf(config Config) (*url.URL, error) {
	u, err := url.Parse(strings.TrimPrefix(config.URL, "jdbc:"))
	if err != nil || (u.Scheme != "mysql" && u.Scheme != "mariadb") || u.Host == "" {
		return nil, fmt.Errorf("data source %q: want jdbc:mysql://HOST:PORT/SCHEMA or sqlite:PATH", redact(config.URL))
	}
	return u, nil
}

// mysqlConfig turns the ways people write a MySQL data source into the driver's own form.
func mysqlConfig(ctx context.Context, config Config) (*mysql.Config, error) {
	u, err := serverOf(config)
	if err != nil {
		return nil, err
	}
	c := mysql.NewConfig()
	c.Net, c.Addr = "tcp", u.Host
	if u.Port() == "" {
		c.Addr += ":3306"
	}
	c.DBName = strings.Trim(u.Path, "/")
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	if config.Username != "" {
		c.User, c.Passwd = config.Username, config.Password
	}
	query := u.Query()
	if c.User == "" {
		c.User, c.Passwd = query.Get("user"), query.Get("password")
	}
	if err := encrypt(c, query); err != nil {
		return nil, fmt.Errorf("data source %s: %w", redact(config.URL), err)
	}
	c.Timeout = 5 * time.Second
	c.Collation = "utf8mb4_bin"
	c.InterpolateParams = true // one round trip for a statement that is not worth preparing
	c.ClientFoundRows = true   // an UPDATE counts matched rows, as SQLite does
	c.Params = map[string]string{
		"time_zone":                "'+00:00'",
		"innodb_lock_wait_timeout": "5", // the transaction runs again then; readers of events count on it
		"sql_mode":                 "'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO'",
	}
	if config.Bulk {
		c.Params["foreign_key_checks"] = "0" // tables are written side by side
	}
	if query.Get("createDatabaseIfNotExist") == "true" {
		if err := createSchema(ctx, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// How a connection is protected, as the driver names it, from the weakest to the strictest.
const (
	tlsOff       = ""
	tlsPreferred = "preferred"   // when the server has it
	tlsRequired  = "skip-verify" // with a certificate that nobody looks at
	tlsSigned    = "signed"      // by an authority that is given, for whatever name; the driver gets the look itself
	tlsVerified  = "true"
)

// sslModes are the values of sslMode, in the words of MySQL's Connector/J and of MariaDB's, which writes them with a hyphen.
var sslModes = map[string]string{
	"": tlsOff, "DISABLED": tlsOff, "DISABLE": tlsOff, "PREFERRED": tlsPreferred, "REQUIRED": tlsRequired, "TRUST": tlsRequired,
	"VERIFY_CA": tlsSigned, "VERIFY_IDENTITY": tlsVerified, "VERIFY_FULL": tlsVerified,
}

// encrypt protects connections as the parameters of JDBC ask for it. Where they say several things the strictest holds, and what cannot be meant is
// an error: a connection that is weaker than somebody thinks would work without a word.
func encrypt(c *mysql.Config, query url.Values) error {
	mode, known := sslModes[strings.ToUpper(strings.ReplaceAll(query.Get("sslMode"), "-", "_"))]
	if !known {
		return fmt.Errorf("sslMode is %s: want DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY", query.Get("sslMode"))
	}
	encrypted := query.Get("useSSL") == "true" || query.Get("requireSSL") == "true"
	switch {
	case query.Get("verifyServerCertificate") == "true" && (encrypted || mode != tlsOff):
		mode = tlsVerified
	case encrypted && (mode == tlsOff || mode == tlsPreferred):
		mode = tlsRequired
	}
	file := query.Get("serverSslCert")
	if file == "" {
		if mode == tlsSigned {
			mode = tlsVerified // the system's roots sign for everybody: there the name alone tells a server from a stranger
		}
		c.TLSConfig = mode
		return nil
	}
	c.TLSConfig = mode
	if mode != tlsSigned && mode != tlsVerified {
		return fmt.Errorf("serverSslCert is %s, and nothing asks for a look at the server's certificate: set sslMode to VERIFY_CA or VERIFY_IDENTITY", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("serverSslCert: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("serverSslCert: %s holds no certificate in PEM", file)
	}
	c.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if mode == tlsSigned {
		c.TLS.InsecureSkipVerify = true // signedBy does it
		c.TLS.VerifyConnection = signedBy(roots)
	}
	return nil
}

// signedBy looks at the certificate of a server as crypto/tls does, but not at the name in it.
func signedBy(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, certificate := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(certificate)
		}
		if _, err := state.PeerCertificates[0].Verify(options); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
		}
		return nil
	}
}

// readCommitted sets the isolation of each new connection: fewer gap locks, and correctness rests on
// conditional updates anyway. It is a statement because MySQL and MariaDB name the variable differently.
type readCommitted struct{ driver.Connector }

// Connect implements driver.Connector.
func (c readCommitted) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", nil); err != nil {
		return nil, errors.Join(fmt.Errorf("set the isolation level: %w", err), conn.Close())
	}
	return conn, nil
}

// createSchema makes the schema that c names, as JDBC's createDatabaseIfNotExist=true asks for.
func createSchema(ctx context.Context, c *mysql.Config) error {
	server := c.Clone()
	server.DBName = ""
	connector, err := mysql.NewConnector(server)
	if err != nil {
		return fmt.Errorf("create schema %s: %w", c.DBName, err)
	}
	db := sql.OpenDB(connector)
	name := strings.ReplaceAll(c.DBName, "`", "``")
	_, err = db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS `"+name+"` DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	if err != nil {
		err = fmt.Errorf("create schema %s: %w", c.DBName, err)
	}
	return errors.Join(err, db.Close())
}

// redact removes a password from a data source, for messages.
func redact(source string) string {
	before, rest, ok := strings.Cut(source, "://")
	if !ok {
		return source
	}
	if _, host, ok := strings.Cut(rest, "@"); ok {
		rest = host
	}
	rest, _, _ = strings.Cut(rest, "?")
	return before + "://" + rest
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.read.PingContext(ctx) }

// Close ends all connections. Transactions that are under way fail.
func (db *DB) Close() error {
	if db.read == db.write {
		return db.write.Close()
	}
	return errors.Join(db.read.Close(), db.write.Close())
}
