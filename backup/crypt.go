package backup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/gzip"
)

// Keys are those for which backups are encrypted, and those that open them.
type Keys struct {
	recipients []age.Recipient
	identities []age.Identity
}

// ReadKeys parses public keys, "age1…", and a file of private ones, "AGE-SECRET-KEY-1…", one in a line. Either may be left
// out.
func ReadKeys(recipients []string, identities string) (Keys, error) {
	var keys Keys
	if len(recipients) > 0 {
		parsed, err := age.ParseRecipients(strings.NewReader(strings.Join(recipients, "\n")))
		if err != nil {
			return keys, fmt.Errorf("public keys: %w; they look like age1…, and tienda backup keygen makes one", err)
		}
		keys.recipients = parsed
	}
	if identities != "" {
		file, err := os.Open(identities)
		if err != nil {
			return keys, fmt.Errorf("private key: %w", err)
		}
		defer file.Close()
		// What the library says of a line that is no key may hold the line.
		if keys.identities, err = age.ParseIdentities(file); err != nil {
			return keys, fmt.Errorf("private key: %s has a line that is none; they look like AGE-SECRET-KEY-1…", identities)
		}
	}
	return keys, nil
}

// GenerateKey makes a private key, as a file of it reads, and its public key.
func GenerateKey(now time.Time) (file, public string, err error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", fmt.Errorf("make a key: %w", err)
	}
	public = identity.Recipient().String()
	return fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", now.Format(time.RFC3339), public, identity), public, nil
}

// seal writes to w what is written to it, compressed and encrypted; Close ends the object.
func (k Keys) seal(w io.Writer) (io.WriteCloser, error) {
	if len(k.recipients) == 0 {
		return nil, errors.New("nobody is named who could open the backup: name a public key with --recipient or TIENDA_BACKUP_RECIPIENTS; tienda backup keygen makes one")
	}
	encrypted, err := age.Encrypt(w, k.recipients...)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	// The best speed: what is not shipped yet is lost, and small nodes have customers to serve.
	compressed, err := gzip.NewWriterLevel(encrypted, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	return sealed{compressed, encrypted}, nil
}

type sealed struct {
	*gzip.Writer
	encrypted io.Closer
}

// Close ends the compression, then the encryption.
func (s sealed) Close() error { return errors.Join(s.Writer.Close(), s.encrypted.Close()) }

var (
	errNoKey    = errors.New("the private key is missing that opens backups: name its file with --identity or TIENDA_BACKUP_IDENTITY_FILE")
	errOtherKey = errors.New("the private key does not open this backup: it was encrypted for others")
)

// open reads what was sealed. A sealed object that was cut short or changed is an error of reading, at the latest at its end.
func (k Keys) open(r io.Reader) (io.Reader, error) {
	if len(k.identities) == 0 {
		return nil, errNoKey
	}
	decrypted, err := age.Decrypt(r, k.identities...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, errOtherKey
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	plain, err := gzip.NewReader(decrypted)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return plain, nil
}
