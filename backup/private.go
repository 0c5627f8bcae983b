package backup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"tienda/sqldb"
)

// Private is a database server of one's own in a folder, on a free port of this machine, with the account root and no password.
type Private struct {
	// Server is how it is reached.
	Server  sqldb.Config
	command *exec.Cmd
	over    chan struct{}
	err     error // of its end
}

// startPatience is how long a server may take to start.
const startPatience = 2 * time.Minute

// StartPrivate runs a server over the data in a folder; when there are none a new server is made. It runs until Stop or Kill.
// mariadb says whose server it is, and the options come behind those that are set here.
func StartPrivate(ctx context.Context, mariadb bool, folder string, port int, options ...string) (*Private, error) {
	t, err := newTools(mariadb, sqldb.Login{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = t.close() }() // a temporary folder
	data, temporary := filepath.Join(folder, "data"), filepath.Join(folder, "tmp")
	if err := os.MkdirAll(temporary, 0o700); err != nil {
		return nil, err
	}
	common := []string{"--no-defaults", "--datadir=" + data, "--tmpdir=" + temporary}
	if who, err := user.Current(); err == nil && who.Uid == "0" {
		common = append(common, "--user="+who.Username) // which a server refuses otherwise
	}
	if _, err := os.Stat(filepath.Join(data, "mysql")); errors.Is(err, os.ErrNotExist) {
		what, arguments := "server", append(common, "--initialize-insecure")
		if mariadb {
			what, arguments = "install", append(common, "--auth-root-authentication-method=normal", "--skip-test-db")
		}
		install, err := t.run(ctx, what, arguments...)
		if err != nil {
			return nil, err
		}
		if err := install.Run(); err != nil {
			return nil, fmt.Errorf("make a database server: %w", ended(install, err))
		}
	}
	if port == 0 {
		if port, err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	arguments := append(common, "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port), "--socket="+filepath.Join(folder, "socket"),
		"--pid-file="+filepath.Join(folder, "pid"), "--innodb-buffer-pool-size=64M", "--performance-schema=OFF", "--max-allowed-packet=1G")
	if !mariadb {
		arguments = append(arguments, "--mysqlx=OFF")
	}
	p := &Private{Server: sqldb.Config{URL: fmt.Sprintf("jdbc:mysql://127.0.0.1:%d/", port), Username: "root"}, over: make(chan struct{})}
	p.command, err = t.run(context.WithoutCancel(ctx), "server", append(arguments, options...)...)
	if err != nil {
		return nil, err
	}
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the keys of a terminal are not for it
	if err := p.command.Start(); err != nil {
		return nil, ended(p.command, err)
	}
	go func() {
		p.err = ended(p.command, p.command.Wait())
		close(p.over)
	}()
	if err := p.ready(ctx); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

func (p *Private) ready(ctx context.Context) error {
	deadline := time.Now().Add(startPatience)
	for {
		db, err := sqldb.OpenToRead(ctx, p.Server)
		if err == nil {
			return db.Close()
		}
		select {
		case <-p.over:
			return fmt.Errorf("the database server does not start: %w", p.err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the database server does not start: %w", err)
		}
	}
}

// Stop ends the server in order.
func (p *Private) Stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.over:
	case <-time.After(startPatience):
		p.Kill()
	}
}

// Kill ends the server as a loss of its machine does.
func (p *Private) Kill() {
	_ = p.command.Process.Kill() // it may have ended
	<-p.over
}

func freePort(ctx context.Context) (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}
