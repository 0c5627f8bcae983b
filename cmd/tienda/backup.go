package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"tienda/audit"
	"tienda/backup"
	"tienda/kit"
	"tienda/sqldb"
)

// backupCommand is everything about backups but the way back, which is [restoreCommand].
type backupCommand struct {
	Create   backupCreate   `cmd:"" help:"Take a backup of all schemas of a MySQL server, and delete those that are too old."`
	Ship     backupShip     `cmd:"" help:"Ship the server's binary logs until it is stopped, and serve metrics."`
	List     backupList     `cmd:"" help:"List the backups that are whole, the newest first."`
	Fetch    backupFetch    `cmd:"" help:"Write the SQL of a backup to a file."`
	Test     backupTest     `cmd:"" help:"Restore the backups that were not tested yet, and the newest, into servers that are thrown away, audit them, and leave the results in the bucket."`
	TakeOver backupTakeOver `cmd:"" help:"Make the folder of a shop or server that writes no more that of this one."`
	Keygen   backupKeygen   `cmd:"" help:"Make a private key, and print its public key."`
	Install  backupInstall  `cmd:"" help:"Copy the program and the root certificates into a folder, for a container with the database's own tools."`
}

// bucketFlags say where backups are. The keys of the bucket are in the environment, so that they are not among the arguments.
type bucketFlags struct {
	Bucket string `help:"Address of the bucket, and of a folder in it: https://HOST/BUCKET/FOLDER; TIENDA_BACKUP_BUCKET unless given." placeholder:"URL"`
	Owner  string `help:"Name of the shop whose backups are in the folder; TIENDA_BACKUP_OWNER unless given, or else the server is the owner. Nobody else writes there." placeholder:"NAME"`
	Region string `help:"Region of the bucket; TIENDA_BACKUP_REGION unless given, or us-east-1, which most services take." placeholder:"NAME"`
}

// recipientFlags say who can open what is written.
type recipientFlags struct {
	Recipient []string `help:"Public key of somebody who can open the backup, any number of times; those of TIENDA_BACKUP_RECIPIENTS unless given, which has commas between them." placeholder:"KEY" sep:"none"`
}

// identityFlags say what opens what is read.
type identityFlags struct {
	Identity string `help:"File with the private key; TIENDA_BACKUP_IDENTITY_FILE unless given." placeholder:"FILE"`
}

func (f recipientFlags) recipients(environ environment) []string {
	if len(f.Recipient) > 0 {
		return f.Recipient
	}
	return strings.FieldsFunc(environ.get("TIENDA_BACKUP_RECIPIENTS"), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
}

func (f identityFlags) identity(environ environment) string {
	return cmp.Or(f.Identity, environ.get("TIENDA_BACKUP_IDENTITY_FILE"))
}

func (f bucketFlags) owner(environ environment) string {
	return cmp.Or(f.Owner, environ.get("TIENDA_BACKUP_OWNER"))
}

// store is the place of the backups.
func (f bucketFlags) store(recipients []string, identity string, term terminal, environ environment) (*backup.Store, error) {
	place := backup.Place{
		URL: cmp.Or(f.Bucket, environ.get("TIENDA_BACKUP_BUCKET")), Region: cmp.Or(f.Region, environ.get("TIENDA_BACKUP_REGION")),
		Owner: f.owner(environ), AccessKey: environ.get("AWS_ACCESS_KEY_ID"), SecretKey: environ.get("AWS_SECRET_ACCESS_KEY"),
	}
	if place.URL == "" {
		return nil, errors.New("name the bucket with --bucket or TIENDA_BACKUP_BUCKET")
	}
	bucket, err := backup.OpenBucket(place)
	if err != nil {
		return nil, err
	}
	keys, err := backup.ReadKeys(recipients, identity)
	if err != nil {
		return nil, err
	}
	return backup.NewStore(bucket, keys, backupLog(term)), nil
}

func backupLog(term terminal) *slog.Logger {
	if watched(term.err) {
		return slog.New(slog.NewTextHandler(term.err, nil))
	}
	return slog.New(slog.NewJSONHandler(term.err, nil))
}

// serverOf is the server that SPRING_DATASOURCE_URL names.
func serverOf(environ environment) (sqldb.Config, error) {
	config := sqldb.Config{URL: environ.get("SPRING_DATASOURCE_URL"), Username: environ.get("SPRING_DATASOURCE_USERNAME"), Password: environ.get("SPRING_DATASOURCE_PASSWORD")}
	if config.URL == "" {
		return config, errors.New("name the server with SPRING_DATASOURCE_URL, such as jdbc:mysql://localhost:3306/; embedded databases are copied with their folder, see docs/recovery.md")
	}
	return config, nil
}

type backupCreate struct {
	bucketFlags
	recipientFlags

	Keep time.Duration `help:"Delete backups that are older than that, but for the newest and the newest that was tested; ${default} unless given." default:"336h" placeholder:"D"`
}

// Run takes a backup.
func (c *backupCreate) Run(ctx context.Context, term terminal, environ environment) error {
	server, err := serverOf(environ)
	if err != nil {
		return err
	}
	store, err := c.store(c.recipients(environ), "", term, environ)
	if err != nil {
		return err
	}
	b, err := store.Create(ctx, server, kit.Version(), time.Now)
	if err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s: %d schemas, %d bytes of SQL in %d, in %s\n", b.Name, len(b.Schemas), b.Bytes, b.Size, b.Finished.Sub(b.Started))
	retired, err := store.Retire(ctx, c.Keep)
	for _, name := range retired {
		fmt.Fprintf(term.out, "%s: deleted, it was older than %s\n", name, c.Keep)
	}
	return err
}

type backupShip struct {
	bucketFlags
	recipientFlags

	Every       time.Duration `help:"How often; it is what a disaster costs. ${default} unless given." default:"5s" placeholder:"D"`
	Listen      string        `help:"Address for metrics; ${default} unless given." default:":9100" placeholder:"ADDR"`
	MetricsOnly bool          `help:"Ship nothing: the server's binary logs are somebody else's."`
}

// Run ships until ctx ends.
func (c *backupShip) Run(ctx context.Context, term terminal, environ environment) error {
	if c.Every <= 0 || c.Every > 30*time.Second {
		return errors.New("--every must be more than nothing and at most 30s, so that a disaster costs less than a minute")
	}
	store, err := c.store(c.recipients(environ), "", term, environ)
	if err != nil {
		return err
	}
	var shipper *backup.Shipper
	if !c.MetricsOnly {
		server, err := serverOf(environ)
		if err != nil {
			return err
		}
		shipper = backup.NewShipper(store, backup.ShipOptions{Server: server, Every: c.Every, Program: kit.Version(), Now: time.Now})
	}
	monitor := backup.NewMonitor(store, shipper, time.Now)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: monitor.Handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	var group sync.WaitGroup
	group.Go(func() {
		served <- server.Serve(listener)
		cancel()
	})
	group.Go(func() { monitor.Run(ctx) })
	if shipper != nil {
		group.Go(func() { shipper.Run(ctx) })
	}
	<-ctx.Done()
	_ = server.Close() // a scrape that is cut off comes again
	group.Wait()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type backupList struct {
	bucketFlags

	JSON bool `name:"json" help:"Print them as JSON."`
}

// Run lists backups.
func (c *backupList) Run(ctx context.Context, term terminal, environ environment) error {
	store, err := c.store(nil, "", term, environ)
	if err != nil {
		return err
	}
	backups, err := store.List(ctx)
	if err != nil {
		return err
	}
	owner, err := store.Owner(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		encoder := json.NewEncoder(term.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(backups)
	}
	table := tabwriter.NewWriter(term.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BACKUP\tFINISHED\tBYTES\tSCHEMAS\tROWS\tBINARY LOG\tTESTED")
	for _, b := range backups {
		position, tested := "none", "not yet"
		if b.Position != nil {
			position = fmt.Sprintf("%s:%d", b.Position.File, b.Position.Offset)
		}
		switch {
		case b.Test != nil && b.Test.OK:
			tested = "good, " + b.Test.Finished.Format(time.RFC3339)
		case b.Test != nil:
			tested = "failed, " + b.Test.Finished.Format(time.RFC3339) + ": " + b.Test.Error
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", b.Name, b.Finished.Format(time.RFC3339), b.Size, len(b.Schemas), b.Rows.Total(), position, tested)
	}
	if err := table.Flush(); err != nil || owner.Name == "" {
		return err
	}
	_, err = fmt.Fprintf(term.out, "the folder is that of %q since %s\n", owner.Name, owner.Since.Format(time.RFC3339))
	return err
}

type backupTakeOver struct {
	bucketFlags

	From string `arg:"" help:"Whose the folder is until now, as tienda backup list says."`
}

// Run changes the owner of the folder.
func (c *backupTakeOver) Run(ctx context.Context, term terminal, environ environment) error {
	store, err := c.store(nil, "", term, environ)
	if err != nil {
		return err
	}
	var server sqldb.Config
	if c.owner(environ) == "" {
		if server, err = serverOf(environ); err != nil {
			return fmt.Errorf("name the shop with --owner or TIENDA_BACKUP_OWNER, or else %w", err)
		}
	}
	owner, err := store.TakeOver(ctx, server, c.From, time.Now)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(term.out, "the folder is that of %q since %s\n", owner.Name, owner.Since.Format(time.RFC3339))
	return err
}

type backupFetch struct {
	bucketFlags
	identityFlags

	Name string `arg:"" optional:"" help:"Its name; the newest unless given."`
	Out  string `help:"The file, which must not be there yet." placeholder:"FILE" required:""`
}

// Run fetches a backup.
func (c *backupFetch) Run(ctx context.Context, term terminal, environ environment) error {
	store, err := c.store(nil, c.identity(environ), term, environ)
	if err != nil {
		return err
	}
	return newFile(c.Out, func(w io.Writer) error { return store.Fetch(ctx, c.Name, w) })
}

// newFile makes a file that only its owner can read, and removes it when it does not become whole.
func newFile(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return plainPathError(err)
	}
	if err := errors.Join(write(file), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

type backupTest struct {
	bucketFlags
	identityFlags

	Name  string        `arg:"" optional:"" help:"Its name, to test one whatever came of it before."`
	For   time.Duration `help:"Begin no test after that; what is left is tested the next time. ${default} unless given." default:"2h" placeholder:"D"`
	Spool string        `help:"Folder for the throwaway server; a temporary one unless given." placeholder:"DIR"`
}

// Run restores, migrates and audits.
func (c *backupTest) Run(ctx context.Context, term terminal, environ environment) error {
	store, err := c.store(nil, c.identity(environ), term, environ)
	if err != nil {
		return err
	}
	tested, left, err := store.TestRestores(ctx, backup.TestOptions{Name: c.Name, For: c.For, Folder: c.Spool, Look: lookAtRestored, Now: time.Now})
	for _, b := range tested {
		if t := b.Test; t.OK {
			fmt.Fprintf(term.out, "%s is good: restored with %d binary logs until %s and audited, in %s\n", b.Name, t.Logs, t.Last.Format(time.RFC3339),
				t.Finished.Sub(t.Started).Round(time.Second))
		}
	}
	if left > 0 {
		fmt.Fprintf(term.out, "%d backups are left for the next time\n", left)
	}
	if err != nil {
		return fmt.Errorf("restore test: %w", err)
	}
	if len(tested) == 0 {
		fmt.Fprintln(term.out, "every backup is tested; tienda backup list shows how it went, and a name has one tested again")
	}
	return nil
}

// lookAtRestored brings the schemas of a shop up to date, as a start of this program would, and audits it as of its last event.
func lookAtRestored(ctx context.Context, server sqldb.Config, restored backup.Restored) error {
	order := slices.IndexFunc(restored.Backup.Schemas, func(schema string) bool { return strings.HasSuffix(schema, "_order") })
	if order < 0 {
		return fmt.Errorf("it has the schemas %s and none that ends in _order, so it is no shop's", strings.Join(restored.Backup.Schemas, ", "))
	}
	server.URL += strings.TrimSuffix(restored.Backup.Schemas[order], "_order")
	environ := environment{"SPRING_DATASOURCE_URL=" + server.URL, "SPRING_DATASOURCE_USERNAME=" + server.Username}
	configs := map[string]sqldb.Config{}
	var missing []string
	for name := range schemas() {
		config := databaseOf(name, "", environ, true)
		switch schema := config.URL[strings.LastIndexByte(config.URL, '/')+1:]; {
		case slices.Contains(restored.Backup.Schemas, schema):
			configs[name] = config
		case name != "zipkin": // traces are no loss
			missing = append(missing, schema)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("it lacks the schemas %s: may the account that takes backups read them?", strings.Join(missing, ", "))
	}
	if err := haveTables(ctx, configs); err != nil {
		return err
	}
	for name, config := range configs {
		db, err := sqldb.Open(ctx, config, schemas()[name]...)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	result, err := (&auditCommand{Grace: audit.DefaultGrace}).audit(ctx, environ, func() time.Time { return restored.Last })
	if err != nil {
		return err
	}
	if result.Violations > 0 {
		var text strings.Builder
		_, _ = result.WriteTo(&text) // it never fails
		return fmt.Errorf("the audit finds %d violations:\n%s", result.Violations, text.String())
	}
	return nil
}

// haveTables is an error when a service's schema has no tables: to bring it up to date would make them, and an empty shop has no violations.
func haveTables(ctx context.Context, configs map[string]sqldb.Config) error {
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		db, err := sqldb.OpenToRead(ctx, configs[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		tables := 0
		err = db.QueryRow(ctx, `SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()`).Scan(&tables)
		if err = errors.Join(err, db.Close()); err != nil {
			return fmt.Errorf("count the tables of %s: %w", name, err)
		}
		if tables == 0 && name != "zipkin" { // traces may be kept elsewhere
			return fmt.Errorf("the schema of %s has no tables: it is not a shop's, or was taken before there was one", name)
		}
	}
	return nil
}

type backupKeygen struct {
	Out string `help:"The file for the private key, which must not be there yet; keep it where the backups are not." placeholder:"FILE" required:""`
}

// Run makes a key.
func (c *backupKeygen) Run(term terminal) error {
	text, public, err := backup.GenerateKey(time.Now())
	if err != nil {
		return err
	}
	err = newFile(c.Out, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(term.out, public)
	return err
}

type backupInstall struct {
	Folder string `arg:"" help:"Where to; it must be there."`
}

// Run copies this program, which needs nothing but the kernel, and the root certificates of this machine, if it has any.
func (c *backupInstall) Run() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if err := copyFile(self, filepath.Join(c.Folder, "tienda"), 0o555); err != nil {
		return err
	}
	err = copyFile(certificates, filepath.Join(c.Folder, "ca-certificates.crt"), 0o444)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

const certificates = "/etc/ssl/certs/ca-certificates.crt"

// copyFile replaces a file by a copy of another, whole or not at all.
func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(to), ".new-*")
	if err != nil {
		return plainPathError(err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Chmod(mode), out.Close()); err == nil {
		err = os.Rename(out.Name(), to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	return nil
}

// restoreCommand is the way back from a backup.
type restoreCommand struct {
	bucketFlags
	identityFlags

	Name    string `arg:"" optional:"" help:"Name of a backup; the newest unless given. TIENDA_RESTORE_BACKUP names one as well."`
	Until   string `help:"The second, as 2006-01-02T15:04:05Z, before which binary logs are applied; all of them unless given. TIENDA_RESTORE_UNTIL names one as well." placeholder:"TIME"`
	Replace bool   `help:"Replace schemas that have tables."`
	Spool   string `help:"Folder for what is fetched; a temporary one unless given." placeholder:"DIR"`
}

// Run restores into the server that SPRING_DATASOURCE_URL names.
func (c *restoreCommand) Run(ctx context.Context, term terminal, environ environment) error {
	options := backup.RestoreOptions{Name: cmp.Or(c.Name, environ.get("TIENDA_RESTORE_BACKUP")), Replace: c.Replace, Spool: c.Spool}
	if text := cmp.Or(c.Until, environ.get("TIENDA_RESTORE_UNTIL")); text != "" {
		until, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return fmt.Errorf("--until is %q: want a time such as 2006-01-02T15:04:05Z", text)
		}
		options.Until = until
	}
	server, err := serverOf(environ)
	if err != nil {
		return err
	}
	store, err := c.store(nil, c.identity(environ), term, environ)
	if err != nil {
		return err
	}
	start := time.Now()
	restored, err := store.Restore(ctx, server, options)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	fmt.Fprintf(term.out, "restored %s and %d binary logs, until %s, in %s\n", restored.Backup.Name, restored.Logs, restored.Last.UTC().Format(time.RFC3339),
		time.Since(start).Round(100*time.Millisecond))
	if restored.Clock != "" {
		fmt.Fprintln(term.out, "look at the end of what was restored: "+restored.Clock)
	}
	if restored.Owner != "" {
		fmt.Fprintf(term.out, "the folder is that of %q, so nothing is backed up into it from here: if this shop takes the place of that one, run tienda backup take-over %q\n", restored.Owner, restored.Owner)
	}
	if restored.Lacks != "" {
		fmt.Fprintln(term.out, "the dump did not bring back what the server had when it was taken: "+restored.Lacks+"; look for an older backup with tienda backup list")
	}
	fmt.Fprintln(term.out, "now look at it with tienda audit, then start the shop; what ships its binary logs takes its first backup by itself")
	return nil
}
