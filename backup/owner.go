package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"tienda/sqldb"
)

// Owner is whose backups are in a folder. Two shops that wrote into one would retire each other's backups, and the newest would be anybody's.
type Owner struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
	// Before is who had the folder until then.
	Before string `json:"before,omitempty"`
}

const ownerObject = "owner.json"

// ErrOwner is for a folder that belongs to somebody else.
var ErrOwner = errors.New("the folder of the backups belongs to another shop")

// Owner is whose the folder is; the zero Owner when nobody has written to it yet.
func (s *Store) Owner(ctx context.Context) (Owner, error) {
	var o Owner
	text, err := s.bucket.read(ctx, ownerObject)
	if errors.Is(err, errNoObject) {
		return o, nil
	}
	if err == nil {
		if err = json.Unmarshal(text, &o); err != nil || o.Name == "" {
			err = fmt.Errorf("%s%s does not say whose the folder is: look at it, and delete it if it is nobody's (%w)", s.bucket, ownerObject, err)
		}
	}
	return o, err
}

// own makes the folder that of who writes if it is nobody's, and is an error if it is somebody else's.
func (s *Store) own(ctx context.Context, name string, now func() time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	there, err := s.Owner(ctx)
	if err == nil && there.Name == "" {
		there, err = s.claim(ctx, Owner{Name: name, Since: now().UTC().Truncate(time.Second)})
	}
	if err != nil {
		return err
	}
	return there.is(name, s.bucket)
}

// is is an error unless somebody is the owner of a folder.
func (o Owner) is(name string, bucket *Bucket) error {
	if o.Name == name {
		return nil
	}
	return fmt.Errorf("%w: %s is that of %q since %s, and this is %q: give this shop a folder of its own, or, if it takes the place of the other, which must write no more, run: tienda backup take-over %q",
		ErrOwner, bucket, o.Name, o.Since.Format(time.RFC3339), name, o.Name)
}

// owner is the name of who writes: the server's, unless the store has one.
func (s *Store) owner(ctx context.Context, server *server) (string, error) {
	if s.bucket.owner != "" {
		return s.bucket.owner, nil
	}
	return server.identity(ctx)
}

// claim writes an owner where there is none, and is who it is then: of two that come at once it is the first.
func (s *Store) claim(ctx context.Context, o Owner) (Owner, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return Owner{}, err
	}
	err = s.bucket.putNew(ctx, ownerObject, text)
	if err != nil {
		return Owner{}, err
	}
	return s.Owner(ctx)
}

// TakeOver makes the folder of one that writes no more that of a server, or of the name that the store has. from is whose it must be until now, so
// that nobody takes another than is meant.
func (s *Store) TakeOver(ctx context.Context, config sqldb.Config, from string, now func() time.Time) (Owner, error) {
	name := s.bucket.owner
	if name == "" {
		server, err := connect(ctx, config)
		if err != nil {
			return Owner{}, err
		}
		defer func() { _ = server.close() }() // nothing was written
		if name, err = server.identity(ctx); err != nil {
			return Owner{}, err
		}
	}
	there, err := s.Owner(ctx)
	switch {
	case err != nil:
		return Owner{}, err
	case there.Name == name:
		return there, nil
	case there.Name != from:
		return Owner{}, fmt.Errorf("%s is that of %q and not of %q: nothing is changed", s.bucket, there.Name, from)
	}
	o := Owner{Name: name, Since: now().UTC().Truncate(time.Second), Before: from}
	return o, s.putJSON(ctx, ownerObject, o)
}

// identity tells servers apart that have no other name. MySQL's has one of its own, in a file beside its data; MariaDB's is where its data are.
func (s *server) identity(ctx context.Context) (name string, err error) {
	if s.mariadb {
		err = s.db.QueryRow(ctx, `SELECT CONCAT('server ', @@hostname, ':', @@datadir)`).Scan(&name)
	} else {
		err = s.db.QueryRow(ctx, `SELECT CONCAT('server ', @@server_uuid)`).Scan(&name)
	}
	if err != nil {
		return "", fmt.Errorf("ask the server who it is: %w", err)
	}
	return name, nil
}

// putNew stores a small object unless there is one. Where the service does not know such a condition it is stored all the same.
func (b *Bucket) putNew(ctx context.Context, name string, content []byte) error {
	options := putOptions()
	options.SetMatchETagExcept("*")
	err := b.putIf(ctx, name, content, options)
	answer := minio.ToErrorResponse(err)
	switch {
	case err == nil, answer.StatusCode == http.StatusPreconditionFailed, answer.StatusCode == http.StatusConflict:
		return nil
	case unknownCondition(answer):
		err = b.putIf(ctx, name, content, putOptions())
	}
	if err != nil {
		return b.failed("store", name, err)
	}
	return nil
}

func (b *Bucket) putIf(ctx context.Context, name string, content []byte, options minio.PutObjectOptions) error {
	_, err := b.client.PutObject(ctx, b.bucket, b.prefix+name, bytes.NewReader(content), int64(len(content)), options)
	return err
}
