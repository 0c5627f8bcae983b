package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tienda/sqldb"
)

// RestoreOptions say what is brought back.
type RestoreOptions struct {
	// Name is a backup's; the newest that reaches no further than Until when it is empty.
	Name string
	// Until is the second to which binary logs are applied, exclusive; zero for all there is.
	Until time.Time
	// Replace says that schemas which have tables may be dropped.
	Replace bool
	// Spool is a folder for the objects of the bucket; a temporary one when it is empty.
	Spool string
}

// Restored is what was brought back.
type Restored struct {
	Backup Backup `json:"backup"`
	// Logs is how many binary logs were applied behind the dump, and Last when the last event in them was written; when there
	// were none it is the time of the dump.
	Logs int       `json:"logs"`
	Last time.Time `json:"last"`
	// Owner is whose the folder of the backups is, if it is not of who was restored: nobody who is not the owner writes to it.
	Owner string `json:"owner,omitempty"`
	// Lacks is what the dump did not bring back of what the server had when it was taken; it should be empty.
	Lacks string `json:"lacks,omitempty"`
	// Clock says why a restore until a time may have ended elsewhere than was meant; it is empty when the server's clock was right.
	Clock string `json:"clock,omitempty"`
	// Whole is false when binary logs in the bucket could not be applied because others before them are missing.
	Whole bool `json:"whole"`
}

// Restore brings a backup, and what the binary logs have since, back into a server. Everything is fetched, opened and
// checked before the server is touched. Nobody may use the schemas meanwhile.
func (s *Store) Restore(ctx context.Context, config sqldb.Config, o RestoreOptions) (Restored, error) {
	b, err := s.Find(ctx, o.Name, o.Until)
	if err != nil {
		return Restored{}, err
	}
	server, err := await(ctx, config, s.log)
	if err != nil {
		return Restored{}, err
	}
	defer func() { _ = server.close() }() // what was written is committed
	if o.Name == "" && o.Until.IsZero() {
		if err := server.another(ctx, b); err != nil {
			return Restored{}, err
		}
	}
	if err := server.vacant(ctx, b.Schemas, o.Replace); err != nil {
		return Restored{}, err
	}
	spool, err := os.MkdirTemp(o.Spool, "restore-")
	if err != nil {
		return Restored{}, err
	}
	defer func() { _ = os.RemoveAll(spool) }() // a temporary folder
	logs, whole, err := s.logsAfter(ctx, b, o.Until)
	if err != nil {
		return Restored{}, err
	}
	here, err := s.fetchAll(ctx, b, logs, spool)
	if err != nil {
		return Restored{}, err
	}
	end, clock := "", ""
	if !o.Until.IsZero() {
		end = "--stop-datetime=" + o.Until.UTC().Format(time.DateTime)
		if clock, err = wrongClock(logs, here, o.Until); err != nil {
			return Restored{}, err
		}
	}
	name, err := s.owner(ctx, server)
	if err != nil {
		return Restored{}, err
	}
	owner, err := s.Owner(ctx)
	if err != nil {
		return Restored{}, err
	}
	restored, err := s.bringBack(ctx, server, here, end)
	if restored.Whole, restored.Clock = whole, clock; owner.Name != name {
		restored.Owner = owner.Name
	}
	return restored, err
}

// fetched is a backup and the binary logs behind it, in files.
type fetched struct {
	backup Backup
	dump   string
	logs   []string
}

// fetchAll copies a backup and binary logs into a folder, and checks them.
func (s *Store) fetchAll(ctx context.Context, b Backup, logs []shippedLog, spool string) (fetched, error) {
	s.log.InfoContext(ctx, "fetching", "backup", b.Name, "bytes", b.Size, "logs", len(logs))
	here := fetched{backup: b, dump: filepath.Join(spool, "dump")}
	err := s.fetch(ctx, b, here.dump)
	if err == nil {
		here.logs, err = s.fetchLogs(ctx, logs, spool)
	}
	return here, err
}

// bringBack loads a dump and applies the binary logs. end is an option of the tool that says where it stops in the last of them, or empty.
func (s *Store) bringBack(ctx context.Context, server *server, here fetched, end string) (Restored, error) {
	defer s.hurry(ctx, server)()
	b := here.backup
	s.log.InfoContext(ctx, "restoring the dump", "backup", b.Name, "schemas", strings.Join(b.Schemas, " "))
	if err := s.load(ctx, server, b, here.dump); err != nil {
		return Restored{}, err
	}
	restored := Restored{Backup: b, Logs: len(here.logs), Last: b.Started}
	if b.Rows != nil {
		there, err := server.count(ctx, b.Schemas)
		if err != nil {
			return Restored{}, err
		}
		if restored.Lacks = b.Rows.lacks(there); restored.Lacks != "" {
			s.log.ErrorContext(ctx, "the dump has not brought everything back", "backup", b.Name, "lacks", restored.Lacks)
		}
	}
	if len(here.logs) == 0 {
		return restored, nil
	}
	s.log.InfoContext(ctx, "applying binary logs", "logs", len(here.logs), "from", b.Position.Offset)
	last, err := server.replay(ctx, here.logs, b.Position.Offset, end)
	if err != nil {
		return Restored{}, err
	}
	restored.Last = later(b.Started, last)
	return restored, nil
}

// logsAfter are the binary logs that belong behind a backup, up to where one is missing; whole is false when there are more behind that. Without
// any, the backup is all there is.
func (s *Store) logsAfter(ctx context.Context, b Backup, until time.Time) (logs []shippedLog, whole bool, err error) {
	if b.Position == nil {
		if !until.IsZero() {
			return nil, false, fmt.Errorf("backup %s does not say where in the binary logs it was taken, so it cannot be brought forward to %s: leave the time out", b.Name, until.Format(time.RFC3339))
		}
		return nil, true, nil
	}
	// A list that is made while the parts of a log are joined may have neither them nor the whole.
	for range lists {
		if logs, whole, err = s.logsBehind(ctx, *b.Position); err != nil || whole {
			break
		}
	}
	switch {
	case err != nil:
		return nil, false, err
	case len(logs) == 0 && !until.IsZero():
		return nil, false, fmt.Errorf("no binary logs were shipped since backup %s was taken: leave the time out to restore the backup as it is", b.Name)
	case len(logs) == 0:
		s.log.WarnContext(ctx, "no binary logs were shipped since the backup was taken", "backup", b.Name)
		return nil, true, nil
	}
	last := logs[len(logs)-1]
	if !whole {
		s.log.WarnContext(ctx, "a part of the binary logs is missing: what is behind it cannot be applied", "log", last.file, "end", last.end, "last", last.last.UTC())
	}
	if !until.IsZero() && until.After(last.last.Add(time.Second)) {
		s.log.WarnContext(ctx, "the binary logs end before the time that is asked for: all there is will be applied", "until", until, "last", last.last.UTC())
	}
	return logs, whole, nil
}

// lists is how often the binary logs are listed when a part seems to be missing.
const lists = 3

// logsBehind are the logs of the newest history that has the one of a position: after a restore from a snapshot two may begin with the same. There
// are none when no history has it.
func (s *Store) logsBehind(ctx context.Context, p Position) (logs []shippedLog, whole bool, err error) {
	all, err := s.histories(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, h := range slices.Backward(all) {
		if logs, whole, err := h.from(p); err == nil {
			return logs, whole, nil
		}
	}
	return nil, true, nil
}

// fetch copies a dump into a file and compares it with what was uploaded.
func (s *Store) fetch(ctx context.Context, b Backup, path string) error {
	if err := s.bucket.download(ctx, b.object(), path); err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != b.SHA256 {
		return fmt.Errorf("backup %s is damaged: its hash is %s and was %s; restore an older one by name", b.Name, got, b.SHA256)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = s.keys.open(file)
	return err
}

// Fetch writes the SQL of a backup to w.
func (s *Store) Fetch(ctx context.Context, name string, w io.Writer) error {
	b, err := s.Find(ctx, name, time.Time{})
	if err != nil {
		return err
	}
	spool, err := os.MkdirTemp("", "tienda-backup-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(spool) }() // a temporary folder
	path := filepath.Join(spool, "dump")
	if err := s.fetch(ctx, b, path); err != nil {
		return err
	}
	return s.unseal(path, w)
}

func (s *Store) unseal(path string, w io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	plain, err := s.keys.open(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, plain)
	return err
}

// fetchers is how many segments are fetched at the same time.
const fetchers = 8

// fetchLogs makes files of the segments of logs. Each is checked by what its name says.
func (s *Store) fetchLogs(ctx context.Context, logs []shippedLog, spool string) ([]string, error) {
	var files []string
	for _, l := range logs {
		path := filepath.Join(spool, l.file)
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		group, fetching := errgroup.WithContext(ctx)
		group.SetLimit(fetchers)
		for _, g := range l.segments {
			group.Go(func() error { return s.fetchSegment(fetching, g, file) })
		}
		err = errors.Join(group.Wait(), file.Close())
		if err != nil {
			return nil, err
		}
		id, err := idOfFile(path)
		if err == nil && id != l.id {
			err = fmt.Errorf("it begins as the log %s does, not %s", id, l.id)
		}
		if err != nil {
			return nil, fmt.Errorf("the binary log %s in the bucket: %w", l.file, err)
		}
		files = append(files, path)
	}
	return files, nil
}

func (s *Store) fetchSegment(ctx context.Context, g segment, file io.WriterAt) error {
	var err error
	for range 3 {
		if err = s.copySegment(ctx, g, io.NewOffsetWriter(file, g.start)); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return fmt.Errorf("open %s: %w", g.object, err)
}

func (s *Store) copySegment(ctx context.Context, g segment, w io.Writer) error {
	content, err := s.bucket.open(ctx, g.object)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // it is only read
	plain, err := s.keys.open(content)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, plain)
	if err == nil && n != g.end-g.start {
		err = fmt.Errorf("it has %d bytes, want %d", n, g.end-g.start)
	}
	return err
}

// another refuses a backup that nobody has named when it is of this very server: with all its binary logs it is what is there anyway, and when the
// server is new, it is a backup of nothing that was taken before anybody came to restore.
func (s *server) another(ctx context.Context, b Backup) error {
	on, _, err := s.binlog(ctx)
	if err != nil || !on || b.Position == nil {
		return err
	}
	logs, err := s.logs(ctx)
	if err != nil || !slices.ContainsFunc(logs, func(l logFile) bool { return l.name == b.Position.File }) {
		return err
	}
	id, err := s.logID(ctx, b.Position.File)
	if err == nil && id == b.Position.ID {
		err = fmt.Errorf("the newest backup, %s, is of this very server: name the backup that is meant; tienda backup list shows them", b.Name)
	}
	return err
}

// vacant refuses a server on which the schemas have tables, unless they may be replaced, or are used by somebody.
func (s *server) vacant(ctx context.Context, schemas []string, replace bool) error {
	for _, schema := range schemas {
		var tables, sessions int
		if err := s.db.QueryRow(ctx, `SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ?`, schema).Scan(&tables); err != nil {
			return fmt.Errorf("look for tables: %w", err)
		}
		if tables > 0 && !replace {
			return fmt.Errorf("the schema %s has %d tables on this server: a restore replaces them; say --replace if that is meant", schema, tables)
		}
		if err := s.db.QueryRow(ctx, `SELECT COUNT(*) FROM information_schema.processlist WHERE db = ?`, schema).Scan(&sessions); err != nil {
			return fmt.Errorf("look for sessions: %w", err)
		}
		if sessions > 0 {
			return fmt.Errorf("%d sessions use the schema %s: stop the components before a restore", sessions, schema)
		}
	}
	return nil
}

// load replaces the schemas of a backup by the dump.
func (s *Store) load(ctx context.Context, server *server, b Backup, path string) error {
	command, err := server.client(ctx)
	if err != nil {
		return err
	}
	input, err := command.StdinPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return ended(command, err)
	}
	seen := &sqlSeen{}
	err = func() error {
		for _, schema := range b.Schemas {
			if _, err := fmt.Fprintf(input, "DROP DATABASE IF EXISTS %s;\n", quoted(schema)); err != nil {
				return err
			}
		}
		if err := s.unseal(path, io.MultiWriter(input, seen)); err != nil {
			return err
		}
		return seen.whole()
	}()
	// A client that has ended says why better than the pipe that broke.
	err = errors.Join(ended(command, errors.Join(input.Close(), command.Wait())), err)
	if err != nil {
		return fmt.Errorf("restore the dump of %s: %w", b.Name, err)
	}
	return nil
}

// hurry has the server not wait for the disk at each commit, of which binary logs have many: a restore that fails is begun anew anyway. The
// function it returns has it wait again, whatever it did before, because a restore that was killed may have left it so. A server that
// lets nobody set that is restored more slowly.
func (s *Store) hurry(ctx context.Context, server *server) (end func()) {
	if err := server.set(ctx, "SET GLOBAL sync_binlog = 0, GLOBAL innodb_flush_log_at_trx_commit = 2;"); err != nil {
		s.log.InfoContext(ctx, "the server waits for the disk at each commit while it is restored, which takes longer", "err", err)
		return func() {}
	}
	return func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := server.set(ending, "SET GLOBAL sync_binlog = 1, GLOBAL innodb_flush_log_at_trx_commit = 1;"); err != nil {
			s.log.ErrorContext(ctx, "the server does not wait for the disk at each commit: restart it, or set sync_binlog and innodb_flush_log_at_trx_commit to 1", "err", err)
		}
	}
}

// set runs statements that are no queries.
func (s *server) set(ctx context.Context, statements string) error {
	command, err := s.client(ctx)
	if err != nil {
		return err
	}
	command.Stdin = strings.NewReader(statements)
	return ended(command, command.Run())
}

// client is the server's command line client, which runs what is written to it and stops at the first error.
func (s *server) client(ctx context.Context) (*exec.Cmd, error) {
	return s.command(ctx, "client", "--batch", "--binary-mode", "--max-allowed-packet=1G", "--default-character-set=utf8mb4")
}

func quoted(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// replay applies binary logs from an offset of the first on, to where an option of the tool says, if one does. It returns when the last event was
// written.
func (s *server) replay(ctx context.Context, files []string, offset int64, end string) (time.Time, error) {
	arguments := []string{"--start-position=" + strconv.FormatInt(offset, 10)}
	// The server gives GTIDs of its own, and what MariaDB adds for people is of no use.
	for _, option := range []string{"--skip-gtids", "--skip-annotate-row-events"} {
		ok, err := s.understands(ctx, "binlog", option)
		if err != nil {
			return time.Time{}, err
		}
		if ok {
			arguments = append(arguments, option)
		}
	}
	if end != "" {
		arguments = append(arguments, end)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, err := s.command(ctx, "binlog", append(arguments, files...)...)
	if err != nil {
		return time.Time{}, err
	}
	to, err := s.client(ctx)
	if err != nil {
		return time.Time{}, err
	}
	output, err := from.StdoutPipe()
	if err != nil {
		return time.Time{}, err
	}
	input, err := to.StdinPipe()
	if err != nil {
		return time.Time{}, err
	}
	if err := to.Start(); err != nil {
		return time.Time{}, ended(to, err)
	}
	if err := from.Start(); err != nil {
		cancel()
		return time.Time{}, errors.Join(ended(from, err), to.Wait())
	}
	last, err := copyStatements(input, output)
	if err != nil {
		cancel()
	}
	err = errors.Join(ended(from, from.Wait()), ended(to, errors.Join(input.Close(), to.Wait())), err)
	if err != nil {
		return time.Time{}, fmt.Errorf("apply binary logs: %w", err)
	}
	return last, nil
}

var (
	accounts = regexp.MustCompile(`(?i)^\s*((create|alter|drop|rename)\s+(or\s+replace\s+)?(user|role)|grant|revoke|set\s+(password|default\s+role))\b`)
	written  = regexp.MustCompile(`^#(\d{6} +\d{1,2}:\d\d:\d\d) server id `)
)

const endOfStatement = "/*!*/;"

// copyStatements copies what the tool writes, but for statements about accounts: those of this server are made by its
// installation. It returns when the last event was written. Statements hold no data, which is all in events of rows, so that nothing that a customer
// wrote is taken for a statement or its end.
func copyStatements(w io.Writer, r io.Reader) (last time.Time, err error) {
	lines, out := bufio.NewReaderSize(r, 1<<20), bufio.NewWriterSize(w, 1<<20)
	begins, dropping := true, false
	for {
		line, err := lines.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !long && !errors.Is(err, io.EOF) {
			return last, err
		}
		text := string(line[:min(len(line), 256)])
		if begins && accounts.MatchString(text) {
			dropping = true
		}
		if match := written.FindStringSubmatch(text); begins && match != nil {
			if at, err := time.Parse("060102 15:04:05", strings.Join(strings.Fields(match[1]), " ")); err == nil {
				last = later(last, at)
			}
		}
		ends := strings.HasSuffix(strings.TrimRight(string(line[max(0, len(line)-16):]), "\r\n"), endOfStatement)
		if !dropping {
			if _, err := out.Write(line); err != nil {
				return last, err
			}
		}
		comment := strings.HasPrefix(text, "#") || strings.TrimSpace(text) == ""
		begins = ends || begins && comment
		dropping = dropping && !ends
		if errors.Is(err, io.EOF) {
			return last, out.Flush()
		}
	}
}
