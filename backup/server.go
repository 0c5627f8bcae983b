package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"tienda/sqldb"
)

// server is a database server that backups are taken of, or brought back into.
type server struct {
	db      *sqldb.DB
	version string
	*tools
}

// reachPatience is how long a server may say nothing before it counts as away: a pod that has just started may not get through to it for some seconds.
const reachPatience = time.Minute

// await connects to a server, and again while nobody answers there.
func await(ctx context.Context, config sqldb.Config, log *slog.Logger) (*server, error) {
	return sqldb.Await(ctx, reachPatience, sqldb.Silent, func(err error) { log.WarnContext(ctx, "the database server does not answer yet", "err", err) },
		func(ctx context.Context) (*server, error) { return connect(ctx, config) })
}

// connect logs in to the server of a data source, and finds the tools that go with it.
func connect(ctx context.Context, config sqldb.Config) (*server, error) {
	login, err := sqldb.LoginOf(ctx, config)
	if err != nil {
		return nil, err
	}
	config.URL = withoutSchema(config.URL)
	asking, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	db, err := sqldb.OpenToRead(asking, config)
	if err != nil {
		return nil, err
	}
	s := &server{db: db}
	err = db.QueryRow(asking, `SELECT VERSION()`).Scan(&s.version)
	if err == nil {
		s.tools, err = newTools(ofMariaDB(s.version), login)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask the database server: %w", err), db.Close())
	}
	return s, nil
}

func ofMariaDB(version string) bool { return strings.Contains(version, "MariaDB") }

func (s *server) close() error { return errors.Join(s.db.Close(), s.tools.close()) }

// withoutSchema takes the schema from a data source: it may not be there yet.
func withoutSchema(source string) string {
	start := strings.Index(source, "://") + len("://")
	end := len(source)
	if i := strings.IndexByte(source, '?'); i >= 0 {
		end = i
	}
	if slash := strings.IndexByte(source[start:end], '/'); slash >= 0 {
		return source[:start+slash+1] + source[end:]
	}
	return source
}

// schemas are those that the account sees, but for the server's own.
func (s *server) schemas(ctx context.Context) ([]string, error) {
	names, err := sqldb.All(ctx, s.db, func(scan func(...any) error) (name string, err error) { return name, scan(&name) },
		`SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY schema_name`)
	if err != nil {
		return nil, fmt.Errorf("list schemas: %w", err)
	}
	return names, nil
}

// binlog is whether the server writes binary logs, and in which format.
func (s *server) binlog(ctx context.Context) (on bool, format string, err error) {
	if err := s.db.QueryRow(ctx, `SELECT @@log_bin, @@binlog_format`).Scan(&on, &format); err != nil {
		return false, "", fmt.Errorf("ask for the binary log: %w", err)
	}
	return on, format, nil
}

// logFile is a binary log that the server has.
type logFile struct {
	name string
	size int64
}

// logs are the server's binary logs, the oldest first.
func (s *server) logs(ctx context.Context) ([]logFile, error) {
	var logs []logFile
	err := s.columns(ctx, `SHOW BINARY LOGS`, func(column func(string) (string, error)) error {
		name, err := column("Log_name")
		if err != nil {
			return err
		}
		text, err := column("File_size")
		if err != nil {
			return err
		}
		size, err := number(text)
		logs = append(logs, logFile{name, size})
		return err
	})
	if err == nil && len(logs) == 0 {
		err = errors.New("the server has none")
	}
	if err != nil {
		return nil, fmt.Errorf("list binary logs: %w", err)
	}
	return logs, nil
}

// columns gives each row of a statement whose columns differ from server to server, by the names of its columns.
func (s *server) columns(ctx context.Context, statement string, row func(column func(string) (string, error)) error) error {
	rows, err := s.db.Query(ctx, statement)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values, pointers := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			pointers[i] = &values[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			return err
		}
		err := row(func(name string) (string, error) {
			for i, n := range names {
				if strings.EqualFold(n, name) {
					return values[i].String, nil
				}
			}
			return "", fmt.Errorf("%s has no column %s", statement, name)
		})
		if err != nil {
			return err
		}
	}
	return rows.Err()
}

// position is where the server is in its binary logs at this moment.
func (s *server) position(ctx context.Context) (logFile, error) {
	logs, err := s.logs(ctx)
	if err != nil {
		return logFile{}, err
	}
	return logs[len(logs)-1], nil
}
