package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tienda/auth"
)

// keyFiles are the identities of all components on one machine.
type keyFiles struct {
	files   map[string]string // of the private key, by component
	trusted map[string]string // settings with the public keys
}

// componentKeys finds or makes the key of every component in a folder. Where the environment names a
// key file, keys are somebody else's care and nothing is made.
func componentKeys(dir string, environ environment) (keyFiles, error) {
	keys := keyFiles{map[string]string{}, map[string]string{}}
	if environ.get("TIENDA_IDENTITY_KEYFILE") != "" || environ.get("TIENDA_IDENTITY_KEY_FILE") != "" {
		return keys, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return keys, fmt.Errorf("keys of the components: %w", plainPathError(err))
	}
	for _, name := range componentNames() {
		path := filepath.Join(dir, name+".pem")
		if err := makeKey(path); err != nil {
			return keys, fmt.Errorf("key of %s: %w", name, err)
		}
		private, err := readKey(path)
		if err != nil {
			return keys, err
		}
		keys.files[name] = path
		keys.trusted["tienda.identity.trusted."+name] = auth.EncodePublicKey(private.Public().(ed25519.PublicKey))
	}
	return keys, nil
}

// makeKey writes a new key unless there is one. Several processes may start at once: the file appears
// whole, and the first to link it wins.
func makeKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return err
	}
	err = errors.Join(pem.Encode(file, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), file.Sync(), file.Close())
	if err == nil {
		err = os.Link(file.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(file.Name()))
}
