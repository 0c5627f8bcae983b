package user

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"tienda/api"
)

// Parameters of argon2id: the OWASP Password Storage Cheat Sheet's choice for little memory, since
// hashMemory times hashSlots must fit a container of 32 MiB.
const (
	hashMemory  = 7 * 1024 // KiB
	hashTime    = 5
	hashThreads = 1
	hashSlots   = 2
)

// Those who wait for a slot are few and do not wait long: beyond, the client is better off coming back.
const (
	hashQueue   = 32
	hashMaxWait = 3 * time.Second
)

// maxBcryptCost bounds what an imported hash may cost to verify, about two seconds.
const maxBcryptCost = 14

// hasher hashes and verifies passwords, few at a time.
type hasher struct {
	waiting, slots chan struct{}
}

func newHasher() *hasher {
	return &hasher{waiting: make(chan struct{}, hashQueue), slots: make(chan struct{}, hashSlots)}
}

// acquire waits for a slot; the caller calls release when done. When too many wait already it is a 429.
func (h *hasher) acquire(ctx context.Context) (release func(), err error) {
	busy := func() error {
		return api.TooManyRequests(hashMaxWait, "too many log-ins and registrations at this moment; try again shortly")
	}
	select {
	case h.waiting <- struct{}{}:
	default:
		return nil, busy()
	}
	defer func() { <-h.waiting }()
	timer := time.NewTimer(hashMaxWait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-timer.C:
		return nil, busy()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash makes the hash of a password in a slot of its own.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return hashPassword(password), nil
}

// hashPassword makes an argon2id hash in the PHC string format. The caller holds a slot.
func hashPassword(password string) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails, by its documentation
	key := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashThreads, 32)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// unknownHash is verified against when there is no hash, so that this takes as long as when there is.
const unknownHash = "$argon2id$v=19$m=7168,t=5,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// verifyPassword reports whether the password is the one of the hash, and whether the hash is of a
// kind that should be replaced. The caller holds a slot.
func verifyPassword(hash, password string) (ok, outdated bool) {
	if strings.HasPrefix(hash, "$2") {
		// Imported from the original system. Cost is checked first: a high one would hold the slot.
		cost, err := bcrypt.Cost([]byte(hash))
		if err == nil && cost <= maxBcryptCost {
			return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil, true
		}
	}
	p, err := parsePHC(hash)
	if err != nil {
		p, _ = parsePHC(unknownHash)
		verifyArgon2(p, password)
		return false, false
	}
	return verifyArgon2(p, password), p.memory != hashMemory || p.time != hashTime || p.threads != hashThreads
}

func verifyArgon2(p phc, password string) bool {
	key := argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.threads, uint32(len(p.key)))
	return subtle.ConstantTimeCompare(key, p.key) == 1
}

// phc is an argon2id hash: its parameters, salt and key.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

// parsePHC reads "$argon2id$v=19$m=7168,t=5,p=1$SALT$KEY" (the PHC string format). Hashes that take
// more than our own in memory, or much more time, are refused.
func parsePHC(text string) (phc, error) {
	var p phc
	fields := strings.Split(text, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, fmt.Errorf("hash: want $argon2id$v=%d$m=…,t=…,p=…$SALT$KEY", argon2.Version)
	}
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil ||
		fields[3] != fmt.Sprintf("m=%d,t=%d,p=%d", p.memory, p.time, p.threads) {
		return p, fmt.Errorf("hash: parameters %q: want m=…,t=…,p=…", fields[3])
	}
	if p.memory < 8 || p.memory > hashMemory || p.time < 1 || p.time > 4*hashTime || p.threads < 1 || p.threads > 4 {
		return p, fmt.Errorf("hash: parameters %q are out of bounds", fields[3])
	}
	var err error
	if p.salt, err = base64.RawStdEncoding.Strict().DecodeString(fields[4]); err != nil || len(p.salt) < 8 || len(p.salt) > 64 {
		return p, fmt.Errorf("hash: the salt is not 8 to 64 bytes in base64")
	}
	if p.key, err = base64.RawStdEncoding.Strict().DecodeString(fields[5]); err != nil || len(p.key) < 16 || len(p.key) > 64 {
		return p, fmt.Errorf("hash: the key is not 16 to 64 bytes in base64")
	}
	return p, nil
}

// commonPasswords are the most frequent of those that leaked lists hold and the length rule lets pass.
const commonPasswords = " password password1 password12 password123 passw0rd p@ssw0rd p@ssword 12345678 123456789 1234567890 87654321 " +
	"0123456789 987654321 11111111 00000000 88888888 12341234 123123123 11223344 1q2w3e4r 1q2w3e4r5t 1qaz2wsx q1w2e3r4 qwertyui " +
	"qwertyuiop qwerty12 qwerty123 qwerty1234 asdfghjk asdfghjkl zxcvbnm1 zaq12wsx abcd1234 abcdefgh abc12345 a1234567 aa123456 " +
	"iloveyou iloveyou1 sunshine princess football baseball basketball superman starwars computer internet welcome1 welcome123 " +
	"admin123 administrator letmein1 letmein123 trustno1 whatever michelle jennifer changeme changeit secret123 test1234 dragon123 "

// weakness says why a password is refused, or "".
func weakness(password, username string) string {
	switch {
	case utf8.RuneCountInString(password) < 8:
		return "must have at least 8 characters"
	case strings.EqualFold(password, username):
		return "must not be the username"
	case strings.Contains(commonPasswords, " "+strings.ToLower(password)+" "):
		return "is one of the commonest passwords; choose another"
	case strings.Count(password, password[:1]) == len(password):
		return "must not be one character repeated"
	}
	return ""
}
