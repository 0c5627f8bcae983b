package cloudconfig

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

const (
	cipherPrefix = "{cipher}"
	maxSecret    = 64 << 10 // bytes of a body to encrypt or decrypt
)

// errCipher says no more, so that an answer tells nothing about the padding.
var errCipher = errors.New("text not encrypted with this key")

// A textCipher is the symmetric encryptor of Spring Security's Encryptors.text:
// AES-256-CBC under a key derived by PBKDF2, the initial vector in front, in hex.
type textCipher struct {
	block cipher.Block
}

func newTextCipher(key Key) (*textCipher, error) {
	salt, err := hex.DecodeString(key.Salt)
	if err != nil {
		return nil, fmt.Errorf("encrypt.salt is not hexadecimal: use an even number of digits 0-9 and a-f, such as %s", defaultSalt)
	}
	derived, err := pbkdf2.Key(sha1.New, key.Key, salt, 1024, 32)
	if err != nil {
		return nil, fmt.Errorf("derive the encryption key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, fmt.Errorf("make the encryption cipher: %w", err)
	}
	return &textCipher{block: block}, nil
}

func (c *textCipher) encrypt(plain string) string {
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	out := make([]byte, aes.BlockSize+len(plain)+padding)
	iv, body := out[:aes.BlockSize], out[aes.BlockSize:]
	_, _ = rand.Read(iv) // crypto/rand never returns an error
	copy(body, plain)
	for i := len(plain); i < len(body); i++ {
		body[i] = byte(padding)
	}
	cipher.NewCBCEncrypter(c.block, iv).CryptBlocks(body, body)
	return hex.EncodeToString(out)
}

func (c *textCipher) decrypt(text string) (string, error) {
	data, err := hex.DecodeString(text)
	if err != nil || len(data) < 2*aes.BlockSize || len(data)%aes.BlockSize != 0 {
		return "", errCipher
	}
	iv, body := data[:aes.BlockSize], data[aes.BlockSize:]
	cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(body, body)
	padding := int(body[len(body)-1])
	if padding == 0 || padding > aes.BlockSize {
		return "", errCipher
	}
	for _, b := range body[len(body)-padding:] {
		if int(b) != padding {
			return "", errCipher
		}
	}
	return string(body[:len(body)-padding]), nil
}

// keyPrefix matches the {key:…}{secret:…} arguments that select a key of a key
// store. There is one key here, so they are only carried along.
var keyPrefix = regexp.MustCompile(`^(?:\{[^{}:]*:[^{}]*\})+`)

// splitKeyPrefix separates those arguments from the text; {plain} marks where
// text begins that would look like one of them.
func splitKeyPrefix(s string) (prefix, rest string) {
	prefix = keyPrefix.FindString(s)
	return prefix, strings.TrimPrefix(s[len(prefix):], "{plain}")
}

// decryptSources replaces {cipher} values. One that cannot be decrypted becomes
// invalid.<key> = <n/a>, so that it is never taken for the secret.
func (s *Server) decryptSources(env *Environment) {
	for i := range env.PropertySources {
		source := &env.PropertySources[i].Source
		var b sourceBuilder
		for _, p := range *source {
			encrypted, ok := strings.CutPrefix(text(p.Value), cipherPrefix)
			if !ok {
				b.add(p)
				continue
			}
			plain, err := s.decrypt(encrypted)
			switch {
			case err == nil:
				p.Value = plain
			case s.settings.Encrypt.PrefixInvalidProperties:
				p.Key, p.Value = "invalid."+p.Key, "<n/a>"
			}
			b.add(p)
		}
		*source = b.source
	}
}

func (s *Server) decrypt(encrypted string) (string, error) {
	if s.cipher == nil {
		return "", errCipher
	}
	_, encrypted = splitKeyPrefix(encrypted)
	return s.cipher.decrypt(encrypted)
}

// A cipherError is an error in the form of Spring's EncryptionController.
type cipherError struct {
	code                int
	status, description string
}

func (e *cipherError) Error() string { return e.description }

func (s *Server) needKey() error {
	if s.cipher == nil {
		return &cipherError{http.StatusNotFound, "NO_KEY", "No key was installed for encryption service"}
	}
	return nil
}

func (s *Server) serveEncryptStatus(w http.ResponseWriter, _ *http.Request) error {
	if err := s.needKey(); err != nil {
		return err
	}
	return write(w, mediaTypeV1, []byte(`{"status":"OK"}`))
}

// serveKey would answer the public key of a key pair; there is none.
func (s *Server) serveKey(http.ResponseWriter, *http.Request) error {
	return &cipherError{http.StatusNotFound, "NOT_FOUND", "No public key available"}
}

func (s *Server) serveEncrypt(w http.ResponseWriter, r *http.Request) error {
	if err := s.needKey(); err != nil {
		return err
	}
	body, err := secretBody(w, r)
	if err != nil {
		return err
	}
	if isForm(r) && strings.HasSuffix(body, "=") {
		if decoded, err := url.QueryUnescape(body); err == nil {
			body = decoded
		}
		body = strings.TrimSuffix(body, "=") // curl -d adds it to what it takes for a name
	}
	prefix, plain := splitKeyPrefix(body)
	return write(w, textPlain, []byte(prefix+s.cipher.encrypt(plain)))
}

func (s *Server) serveDecrypt(w http.ResponseWriter, r *http.Request) error {
	if err := s.needKey(); err != nil {
		return err
	}
	body, err := secretBody(w, r)
	if err != nil {
		return err
	}
	if isForm(r) {
		if decoded, err := url.QueryUnescape(body); err == nil {
			body = strings.ReplaceAll(decoded, " ", "+")
		}
		body = strings.TrimSuffix(body, "=")
	}
	plain, err := s.decrypt(strings.TrimPrefix(strings.TrimSpace(body), cipherPrefix))
	if err != nil {
		return &cipherError{http.StatusBadRequest, "INVALID", "Text not encrypted with this key"}
	}
	return write(w, textPlain, []byte(plain))
}

// isForm is true for everything but text/plain: clients that post without
// thinking of a type send a form.
func isForm(r *http.Request) bool {
	return !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain")
}

func secretBody(w http.ResponseWriter, r *http.Request) (string, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSecret))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return "", &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", maxSecret)}
	}
	if err != nil {
		return "", &statusError{http.StatusBadRequest, "the body could not be read"}
	}
	return string(body), nil
}
