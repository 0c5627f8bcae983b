package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tienda/sqldb"
)

// tools are the programs that come with a database server. MySQL's and MariaDB's differ in their names and
// in some options; which ones they are is asked of the server, what they understand of themselves.
type tools struct {
	mariadb bool
	folder  string // private, with the file of the login
	help    map[string]string
}

// newTools writes down how to log in, in a private folder: a password among the arguments or in the environment of a
// process would be seen by others.
func newTools(mariadb bool, login sqldb.Login) (*tools, error) {
	folder, err := os.MkdirTemp("", "tienda-backup-")
	if err != nil {
		return nil, err
	}
	t := &tools{mariadb: mariadb, folder: folder, help: map[string]string{}}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	text := fmt.Sprintf("[client]\nprotocol=tcp\nhost=\"%s\"\nport=%s\nuser=\"%s\"\npassword=\"%s\"\n",
		quote.Replace(login.Host), login.Port, quote.Replace(login.User), quote.Replace(login.Password))
	switch {
	case login.Encrypted && mariadb:
		text += "ssl\n"
		if login.Verified {
			text += "ssl-verify-server-cert\n" // the name as well, named or not: from Connector/C 3.4 on they look at both or at nothing
		}
		if login.Roots != "" {
			text += "ssl-ca=\"" + quote.Replace(login.Roots) + "\"\n"
		}
	case login.Verified:
		mode := "VERIFY_CA"
		if login.Named {
			mode = "VERIFY_IDENTITY"
		}
		text += "ssl-mode=" + mode + "\nssl-ca=\"" + quote.Replace(cmp.Or(login.Roots, roots())) + "\"\n" // which MySQL's do not know by themselves
	case login.Encrypted:
		text += "ssl-mode=REQUIRED\n"
	}
	if err := os.WriteFile(t.login(), []byte(text), 0o600); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// roots is the file of the certificates that are trusted here.
func roots() string {
	for _, path := range []string{os.Getenv("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

func (t *tools) login() string { return filepath.Join(t.folder, "login.cnf") }

func (t *tools) close() error { return os.RemoveAll(t.folder) }

// path finds a program: "dump", "binlog", "client", "server" or "install".
func (t *tools) path(what string) (string, error) {
	names := map[string][]string{
		"dump": {"mysqldump"}, "binlog": {"mysqlbinlog"}, "client": {"mysql"}, "server": {"mysqld"},
	}[what]
	if t.mariadb {
		names = append(map[string][]string{
			"dump": {"mariadb-dump"}, "binlog": {"mariadb-binlog"}, "client": {"mariadb"}, "server": {"mariadbd"}, "install": {"mariadb-install-db"},
		}[what], names...)
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed here; it comes with the database server, and in its image", strings.Join(names, " or "))
}

// understands reports whether a program has an option.
func (t *tools) understands(ctx context.Context, what, option string) (bool, error) {
	if t.help[what] == "" {
		path, err := t.path(what)
		if err != nil {
			return false, err
		}
		out, err := exec.CommandContext(ctx, path, "--no-defaults", "--help").Output()
		if err != nil {
			return false, fmt.Errorf("%s --help: %w", path, err)
		}
		t.help[what] = string(out)
	}
	return strings.Contains(t.help[what], option), nil
}

// either is the first of two names of an option that a program has.
func (t *tools) either(ctx context.Context, what, first, second string) (string, error) {
	ok, err := t.understands(ctx, what, first)
	if ok || err != nil {
		return first, err
	}
	return second, nil
}

// command is a run of a program that logs in. What it says on standard error is in the error of its end; see [ended].
func (t *tools) command(ctx context.Context, what string, arguments ...string) (*exec.Cmd, error) {
	return t.run(ctx, what, append([]string{"--defaults-file=" + t.login()}, arguments...)...)
}

func (t *tools) run(ctx context.Context, what string, arguments ...string) (*exec.Cmd, error) {
	path, err := t.path(what)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, path, arguments...)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.folder, "TMPDIR=" + os.TempDir(), "TZ=UTC", "LC_ALL=C"}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	command.Stderr = &said{}
	return command, nil
}

// ended is the error of a program's end with what it said last.
func ended(command *exec.Cmd, err error) error {
	if err == nil {
		return nil
	}
	name := filepath.Base(command.Path)
	if s, ok := command.Stderr.(*said); ok && s.String() != "" {
		return fmt.Errorf("%s: %w: %s", name, err, s)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// said keeps the end of what a program says.
type said struct{ text []byte }

const mostSaid = 2 << 10

// Write implements io.Writer.
func (s *said) Write(p []byte) (int, error) {
	s.text = append(s.text, p...)
	if len(s.text) > mostSaid {
		s.text = append(s.text[:0], s.text[len(s.text)-mostSaid:]...)
	}
	return len(p), nil
}

// String is what was said, in one line.
func (s *said) String() string {
	return strings.ReplaceAll(string(bytes.TrimSpace(s.text)), "\n", "; ")
}
