// Package backup keeps copies of a shop's MySQL (or MariaDB) server in a bucket of any S3, and brings a
// server back from them.
//
// A backup is a dump of every schema of the server at one instant, taken by the server's own tools.
// Between dumps the server's binary logs are shipped every few seconds, so that a server can be brought
// back to any second since the oldest dump, and to within seconds of its end. Both are compressed and
// encrypted for the holders of age keys (age-encryption.org) before they leave; whoever writes backups
// needs no key that opens them.
//
//	owner.json                             whose backups they are: [Owner]
//	dumps/20260102T030405Z-1f3a.sql.gz.age a dump, and beside it, written when the dump is whole:
//	dumps/20260102T030405Z-1f3a.json       what is in it: [Backup]
//	binlogs/HISTORY/binlog.000007/ID/00000000000004-00000000081920-1767323045.gz.age
//	                                       bytes of a binary log, by offsets; and the time of the last event. When
//	                                       the log is finished one object with all of it takes the place of its parts
//	dumps/20260102T030405Z-1f3a.test.json  how its restore test went: [Test]
//
// A history is what one server wrote without a break. When the server is another one than before, because it
// was restored from something or a replica took its place, a new history begins, with a dump of its own. Binary logs
// of the same name are told apart by ID, a hash of how the log begins.
//
// What is not in a backup: the accounts of the server, which its installation makes.
package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Store is where backups are, and who can open them.
type Store struct {
	bucket *Bucket
	keys   Keys
	log    *slog.Logger
}

// NewStore keeps backups in a bucket. Writing needs keys with recipients, reading keys with identities.
func NewStore(bucket *Bucket, keys Keys, log *slog.Logger) *Store {
	return &Store{bucket: bucket, keys: keys, log: log}
}

// Backup is what stands beside a dump, readable by everybody who can read the bucket.
type Backup struct {
	Name     string    `json:"name"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Taken is the clock of the bucket, by which backups age.
	Taken   time.Time `json:"-"`
	Size    int64     `json:"size"`   // of the object
	Bytes   int64     `json:"bytes"`  // of the SQL in it
	SHA256  string    `json:"sha256"` // of the object
	Server  string    `json:"server"`
	Schemas []string  `json:"schemas"`
	// Rows is what the server had, counted when the dump began; nil when nobody has counted.
	Rows Counts `json:"rows,omitempty"`
	// Position is where in the server's binary logs the dump was taken; nil when it wrote none.
	Position *Position `json:"position,omitempty"`
	Program  string    `json:"program"`
	// Test is how it was tested, in an object of its own; nil when it was not yet.
	Test *Test `json:"test,omitempty"`
}

// Position is a place in a binary log.
type Position struct {
	File   string `json:"file"`
	ID     string `json:"id"`
	Offset int64  `json:"offset"`
}

const (
	dumpsFolder   = "dumps/"
	binlogsFolder = "binlogs/"
	dumpSuffix    = ".sql.gz.age"
	recordSuffix  = ".test.json"
	nameLayout    = "20060102T150405Z"
)

var namePattern = regexp.MustCompile(`^\d{8}T\d{6}Z-[0-9a-f]{4}$`)

// newName names what began at a time: two may begin in the same second.
func newName(at time.Time) string {
	return fmt.Sprintf("%s-%04x", at.UTC().Format(nameLayout), rand.IntN(1<<16))
}

func (b Backup) object() string   { return dumpsFolder + b.Name + dumpSuffix }
func (b Backup) manifest() string { return dumpsFolder + b.Name + ".json" }
func (b Backup) record() string   { return dumpsFolder + b.Name + recordSuffix }

// ErrNoBackup is for a name that no backup has, and for a bucket without backups.
var ErrNoBackup = errors.New("there is no such backup")

// List returns all backups that are whole, the newest first.
func (s *Store) List(ctx context.Context) ([]Backup, error) {
	objects, err := s.bucket.list(ctx, dumpsFolder)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, o := range objects {
		sizes[o.name] = o.size
	}
	backups := []Backup{}
	for _, o := range objects {
		name, ok := strings.CutSuffix(path.Base(o.name), ".json")
		if !ok || !namePattern.MatchString(name) {
			continue
		}
		text, err := s.bucket.read(ctx, o.name)
		if errors.Is(err, errNoObject) {
			continue // retired just now
		}
		if err != nil {
			return nil, err
		}
		var b Backup
		if err := json.Unmarshal(text, &b); err != nil || b.Name != name {
			s.log.WarnContext(ctx, "not the description of a backup", "object", o.name, "err", err)
			continue
		}
		if size, ok := sizes[b.object()]; !ok || size != b.Size {
			s.log.WarnContext(ctx, "a backup is damaged: its dump is not as long as it was", "backup", name, "bytes", size, "want", b.Size)
			continue
		}
		b.Taken, b.Test = o.modified, nil
		if _, ok := sizes[b.record()]; ok {
			if b.Test, err = s.test(ctx, b); err != nil {
				return nil, err
			}
		}
		backups = append(backups, b)
	}
	slices.SortFunc(backups, func(a, b Backup) int { return cmp.Or(b.Taken.Compare(a.Taken), cmp.Compare(b.Name, a.Name)) })
	return backups, nil
}

// Find returns the backup of a name, or the newest for "". With a time it is the newest that was finished by then.
func (s *Store) Find(ctx context.Context, name string, until time.Time) (Backup, error) {
	backups, err := s.List(ctx)
	if err != nil {
		return Backup{}, err
	}
	for _, b := range backups {
		if name == b.Name || name == "" && (until.IsZero() || !b.Finished.After(until)) {
			if !until.IsZero() && b.Finished.After(until) {
				return Backup{}, fmt.Errorf("backup %s was taken until %s, after the time that is asked for: name an older one", b.Name, b.Finished.Format(time.RFC3339))
			}
			return b, nil
		}
	}
	switch {
	case name != "":
		return Backup{}, fmt.Errorf("%w as %q in %s; tienda backup list shows those that are whole", ErrNoBackup, name, s.bucket)
	case len(backups) > 0:
		return Backup{}, fmt.Errorf("%w: the oldest of %s was finished at %s", ErrNoBackup, s.bucket, backups[len(backups)-1].Finished.Format(time.RFC3339))
	}
	return Backup{}, fmt.Errorf("%w: %s has none", ErrNoBackup, s.bucket)
}

// putJSON stores a small object as JSON.
func (s *Store) putJSON(ctx context.Context, name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return s.putBytes(ctx, name, text)
}

func (s *Store) putBytes(ctx context.Context, name string, content []byte) error {
	_, err := s.bucket.put(ctx, name, bytes.NewReader(content), int64(len(content)))
	return err
}

// putStream stores what write writes, and is how long and what hash it has. When either fails there is no object.
func (s *Store) putStream(ctx context.Context, name string, write func(io.Writer) error) (size int64, hash string, err error) {
	reader, writer := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := write(writer)
		_ = writer.CloseWithError(err) // it always succeeds
		written <- err
	}()
	sum := sha256.New()
	size, err = s.bucket.put(ctx, name, io.TeeReader(reader, sum), -1)
	_ = reader.CloseWithError(errors.New("the upload was broken off")) // ends who still writes
	// Either fails because the other did, and who began says why.
	if wrote := <-written; wrote != nil && (err == nil || errors.Is(err, wrote)) {
		err = wrote
	}
	return size, hex.EncodeToString(sum.Sum(nil)), err
}

// sealInto writes content to w, sealed.
func (s *Store) sealInto(w io.Writer, content io.Reader) error {
	sealed, err := s.keys.seal(w)
	if err != nil {
		return err
	}
	_, err = io.Copy(sealed, content)
	return errors.Join(err, sealed.Close())
}
