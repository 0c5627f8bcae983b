package fleet

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"path/filepath"
	"time"

	"tienda/sqldb"
)

// startMariaDB makes a private server in the fleet's folder that flushes every commit to the disk.
func (f *Fleet) startMariaDB(ctx context.Context) error {
	who, err := user.Current()
	if err != nil {
		return fmt.Errorf("start MariaDB: %w", err)
	}
	data := filepath.Join(f.options.Dir, "mariadb")
	temporary := "--tmpdir=" + filepath.Join(f.options.Dir, "tmp") // a server that starts removes what it finds in a shared one
	install := exec.CommandContext(ctx, "mariadb-install-db", "--no-defaults", "--datadir="+data, temporary,
		"--auth-root-authentication-method=normal", "--skip-test-db", "--user="+who.Username)
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("make a database server: %w: %s; test/mariadb.sh installs MariaDB", err, out)
	}
	if f.mysql, err = f.ports.next(ctx); err != nil {
		return err
	}
	f.MariaDB = &Process{
		Name: "mariadb", Component: "mariadb", Port: f.mysql, logs: filepath.Join(f.options.Dir, "logs", "mariadb"), environ: plainEnvironment(),
		command: []string{
			"mariadbd", "--no-defaults", "--user=" + who.Username, "--datadir=" + data, temporary, "--socket=" + filepath.Join(f.options.Dir, "mariadb.sock"),
			"--pid-file=" + filepath.Join(f.options.Dir, "mariadb.pid"), "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", f.mysql),
			"--max-connections=600", "--innodb-buffer-pool-size=256M", "--innodb-flush-log-at-trx-commit=1", "--skip-log-bin",
		},
	}
	f.MariaDB.supervise(ctx, f.spawner, f.options.Ended)
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		db, err := f.admin(ready)
		if err == nil {
			return db.Close()
		}
		select {
		case <-ready.Done():
			return fmt.Errorf("MariaDB does not start: %w; its logs are %s.*", err, f.MariaDB.logs)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// admin connects to the server itself.
func (f *Fleet) admin(ctx context.Context) (*sqldb.DB, error) {
	return sqldb.Open(ctx, sqldb.Config{URL: fmt.Sprintf("jdbc:mysql://127.0.0.1:%d/mysql", f.mysql), Username: "root"})
}

// Sessions are the sessions of MariaDB by the component whose schema they use, and how many
// transactions are open.
func (f *Fleet) Sessions(ctx context.Context) (sessions map[string]int, transactions int, err error) {
	db, err := f.admin(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	type row struct {
		schema string
		n      int
	}
	rows, err := sqldb.All(ctx, db, func(scan func(...any) error) (r row, err error) {
		return r, scan(&r.schema, &r.n)
	}, `SELECT db, COUNT(*) FROM information_schema.processlist WHERE db LIKE 'tienda%' GROUP BY db`)
	if err != nil {
		return nil, 0, fmt.Errorf("sessions of MariaDB: %w", err)
	}
	sessions = map[string]int{}
	for _, component := range contexts {
		for _, r := range rows {
			if r.schema == schema(component.name) {
				sessions[component.name] = r.n
			}
		}
	}
	err = db.QueryRow(ctx, `SELECT COUNT(*) FROM information_schema.innodb_trx`).Scan(&transactions)
	if err != nil {
		return nil, 0, fmt.Errorf("open transactions of MariaDB: %w", err)
	}
	return sessions, transactions, nil
}
