package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tienda/sqldb"
)

// Create takes a backup of a server. It exists when Create returns it, and not before: what was broken off is not listed.
// program is the version that stands in it.
func (s *Store) Create(ctx context.Context, config sqldb.Config, program string, now func() time.Time) (Backup, error) {
	server, err := await(ctx, config, s.log)
	if err != nil {
		return Backup{}, err
	}
	defer func() { _ = server.close() }() // nothing was written
	name, err := s.owner(ctx, server)
	if err == nil {
		err = s.own(ctx, name, now)
	}
	if err != nil {
		return Backup{}, err
	}
	b := Backup{Started: now().UTC().Truncate(time.Second), Server: server.version, Program: program}
	b.Name = newName(b.Started)
	if b.Schemas, err = server.schemas(ctx); err != nil {
		return Backup{}, err
	}
	if len(b.Schemas) == 0 {
		return Backup{}, errors.New("the account sees no schema on the server: it needs the right to SELECT on those of the shop")
	}
	arguments, logs, err := server.dumpArguments(ctx)
	if err != nil {
		return Backup{}, err
	}
	seen := &sqlSeen{}
	group, working := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		b.Rows, err = server.count(working, b.Schemas)
		return err
	})
	group.Go(func() (err error) {
		b.Size, b.SHA256, err = s.putStream(working, b.object(), func(w io.Writer) error {
			return s.dump(working, server, append(arguments, b.Schemas...), seen, w)
		})
		return err
	})
	if err := group.Wait(); err != nil {
		return Backup{}, fmt.Errorf("back up: %w", err)
	}
	b.Bytes = seen.length
	if logs {
		if b.Position, err = seen.position(); err != nil {
			return Backup{}, err
		}
		if b.Position.ID, err = server.logID(ctx, b.Position.File); err != nil {
			return Backup{}, err
		}
	}
	b.Finished = now().UTC().Truncate(time.Second)
	if err := s.putJSON(ctx, b.manifest(), b); err != nil {
		return Backup{}, err
	}
	return b, nil
}

// dumpArguments are those of the dump; logs says whether the place in the binary log will be in it.
func (s *server) dumpArguments(ctx context.Context) (arguments []string, logs bool, err error) {
	// One transaction over all schemas: what it sees is one instant of the whole shop.
	arguments = []string{"--single-transaction", "--quick", "--hex-blob", "--no-tablespaces", "--default-character-set=utf8mb4", "--max-allowed-packet=512M"}
	for _, option := range []string{"set-gtid-purged=OFF", "column-statistics=0"} { // MySQL's
		name, _, _ := strings.Cut(option, "=")
		ok, err := s.understands(ctx, "dump", "--"+name)
		if err != nil {
			return nil, false, err
		}
		if ok {
			arguments = append(arguments, "--"+option)
		}
	}
	logs, _, err = s.binlog(ctx)
	if err != nil {
		return nil, false, err
	}
	if logs {
		option, err := s.either(ctx, "dump", "--source-data", "--master-data")
		if err != nil {
			return nil, false, err
		}
		// A new log begins with each dump, so that logs are whole from time to time however little is written.
		arguments = append(arguments, option+"=2", "--flush-logs")
	}
	return append(arguments, "--databases"), logs, nil
}

// dump runs the dump into an object that goes to out; seen is shown the SQL.
func (s *Store) dump(ctx context.Context, server *server, arguments []string, seen *sqlSeen, out io.Writer) error {
	sealed, err := s.keys.seal(out)
	if err != nil {
		return err
	}
	command, err := server.command(ctx, "dump", arguments...)
	if err != nil {
		return err
	}
	command.Stdout = io.MultiWriter(sealed, seen)
	if err := command.Run(); err != nil {
		return ended(command, err)
	}
	if err := seen.whole(); err != nil {
		return err
	}
	return sealed.Close()
}

// sqlSeen keeps the beginning and the end of a dump that passes by.
type sqlSeen struct {
	length     int64
	head, tail []byte
}

const (
	keptHead = 64 << 10
	keptTail = 256
)

// Write implements io.Writer.
func (d *sqlSeen) Write(p []byte) (int, error) {
	d.length += int64(len(p))
	if n := min(len(p), keptHead-len(d.head)); n > 0 {
		d.head = append(d.head, p[:n]...)
	}
	d.tail = append(d.tail, p[max(0, len(p)-keptTail):]...)
	d.tail = d.tail[max(0, len(d.tail)-keptTail):]
	return len(p), nil
}

// whole is an error unless the dump has the line that the tool writes last.
func (d *sqlSeen) whole() error {
	if !strings.Contains(string(d.tail), "\n-- Dump completed") {
		return errors.New("the dump ends before its end")
	}
	return nil
}

var coordinates = regexp.MustCompile(`(?m)^-- CHANGE (?:MASTER|REPLICATION SOURCE) TO (?:MASTER|SOURCE)_LOG_FILE='([^'/]+)', *(?:MASTER|SOURCE)_LOG_POS=(\d+);$`)

// position is where in the binary log the dump was taken, as the tool has written it down.
func (d *sqlSeen) position() (*Position, error) {
	match := coordinates.FindSubmatch(d.head)
	if match == nil {
		return nil, errors.New("the dump does not say where in the binary log it was taken")
	}
	offset, err := strconv.ParseInt(string(match[2]), 10, 64)
	return &Position{File: string(match[1]), Offset: offset}, err
}

// logID is the ID of one of the server's binary logs. The tool copies the log, and is stopped when it has copied enough.
func (s *server) logID(ctx context.Context, file string) (string, error) {
	folder, err := os.MkdirTemp(s.folder, "log-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(folder) }() // a temporary folder
	running, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	command, err := s.command(running, "binlog", "--read-from-remote-server", "--raw", "--result-file="+folder+"/", file)
	if err != nil {
		return "", err
	}
	if err := command.Start(); err != nil {
		return "", ended(command, err)
	}
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	for {
		var over bool
		select {
		case err = <-done:
			over = true
		case <-time.After(20 * time.Millisecond):
		}
		id, idErr := idOfFile(filepath.Join(folder, file))
		if id != "" || idErr != nil || over {
			stop()
			if !over {
				err = <-done
			}
			if id == "" && idErr == nil {
				idErr = errors.Join(ended(command, err), errors.New("the server did not send the beginning of the log"))
			}
			if idErr != nil {
				return "", fmt.Errorf("look at the binary log %s: %w", file, idErr)
			}
			return id, nil
		}
	}
}

// idOfFile is the ID of a copy of a binary log, or empty when too little of it is there.
func idOfFile(path string) (string, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	start := make([]byte, 8<<10)
	n, err := io.ReadFull(file, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	return logID(start[:n])
}
