package backup

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// takeOver gives the folder to a server.
func takeOver(t *testing.T, store *Store, d *database) {
	t.Helper()
	owner, err := store.Owner(t.Context())
	if err == nil {
		_, err = store.TakeOver(t.Context(), d.backup, owner.Name, time.Now)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// named is the bucket of a shop that has a name.
func (s *stand) named(t *testing.T, owner string) *Bucket {
	t.Helper()
	b := s.bucket(t)
	b.owner = owner
	return b
}

func failures(p *Shipper) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures
}

// TestOwner: the first who writes to a folder has it; others are refused, whatever they want to write, and told what to do; it is taken over
// by naming who had it, who writes no more from then on, not even in the middle of shipping.
func TestOwner(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, reads := newKeys(t)
	store := NewStore(s.bucket(t), writes, quiet())
	d, other := newDatabase(t), newDatabase(t)
	for _, d := range []*database{d, other} {
		d.account()
		d.fill()
	}
	if owner, err := store.Owner(t.Context()); err != nil || owner.Name != "" {
		t.Errorf("a new folder is that of %+v, %v", owner, err)
	}
	p, _ := ship(t, store, d.backup)
	shipped(t, p)
	first, err := store.Owner(t.Context())
	if err != nil || !strings.HasPrefix(first.Name, "server ") || first.Since.IsZero() {
		t.Fatalf("the folder is that of %+v, %v, want the server's", first, err)
	}
	if _, err := store.Create(t.Context(), d.backup, "test", time.Now); err != nil {
		t.Errorf("Create of the owner = %v", err)
	}
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrOwner) || !strings.Contains(err.Error(), `tienda backup take-over "`+first.Name+`"`) {
			t.Errorf("%s = %v, want a refusal that says what to do", what, err)
		}
	}
	_, err = store.Create(t.Context(), other.backup, "test", time.Now)
	refused("Create of another server", err)
	refused("shipping of another server", NewShipper(store, ShipOptions{Server: other.backup, Every: time.Second, Now: time.Now}).follow(t.Context()))
	_, err = NewStore(s.named(t, "another"), writes, quiet()).Create(t.Context(), d.backup, "test", time.Now)
	refused("Create under another name", err)
	_, _, err = NewStore(s.named(t, "another"), reads, quiet()).TestRestores(t.Context(), TestOptions{Now: time.Now})
	refused("a restore test of another's backups", err)

	until(t, "there are backups", func() bool { return len(results(t, store)) >= 2 })
	target := newDatabase(t)
	restored, err := NewStore(s.bucket(t), reads, quiet()).Restore(t.Context(), target.Server, RestoreOptions{})
	if err != nil || restored.Owner != first.Name {
		t.Errorf("Restore = %+v, %v, want that the folder is that of %s", restored, err, first.Name)
	}
	named := NewStore(s.named(t, "stage"), writes, quiet())
	if _, err := named.TakeOver(t.Context(), d.backup, "somebody", time.Now); err == nil || !strings.Contains(err.Error(), "nothing is changed") {
		t.Errorf("TakeOver from somebody else = %v", err)
	}
	before := failures(p)
	for range 2 { // the second changes nothing
		if owner, err := named.TakeOver(t.Context(), d.backup, first.Name, time.Now); err != nil || owner.Name != "stage" || owner.Before != first.Name {
			t.Errorf("TakeOver = %+v, %v", owner, err)
		}
	}
	until(t, "who has lost the folder ships no more", func() bool { return failures(p) > before })
	covered := p.Covered()
	d.order("not shipped by the one before")
	if _, err := named.Create(t.Context(), other.backup, "test", time.Now); err != nil {
		t.Errorf("Create of another server under the name of the owner = %v", err)
	}
	if p.Covered().After(covered) {
		t.Error("who has lost the folder goes on shipping")
	}
	s.change(t, ownerObject, func([]byte) []byte { return []byte("{}") })
	if _, err := named.Create(t.Context(), d.backup, "test", time.Now); err == nil || !strings.Contains(err.Error(), "does not say whose") {
		t.Errorf("Create where the owner cannot be read = %v", err)
	}
}

// TestFirstOwner: of two that come at the same time one has the folder, also where the service knows no writes on condition.
func TestFirstOwner(t *testing.T) {
	t.Parallel()
	for _, knows := range []bool{true, false} {
		s := newStand(t)
		one := NewStore(s.named(t, "one"), Keys{}, quiet())
		var conditional atomic.Int64
		s.failing(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || r.Header.Get("If-None-Match") != "*" {
				return false
			}
			conditional.Add(1)
			if !knows {
				w.WriteHeader(http.StatusNotImplemented)
				_, _ = io.WriteString(w, "<Error><Code>NotImplemented</Code></Error>")
				return true
			}
			// The other was here a moment before.
			text := []byte(`{"name":"two","since":"2026-01-02T03:04:05Z"}`)
			if _, err := s.backend.PutObject("backups", "shop/"+ownerObject, map[string]string{"Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}, bytes.NewReader(text), int64(len(text)), nil); err != nil {
				t.Error(err)
			}
			w.WriteHeader(http.StatusPreconditionFailed)
			_, _ = io.WriteString(w, "<Error><Code>PreconditionFailed</Code></Error>")
			return true
		})
		err := one.own(t.Context(), "one", time.Now)
		if knows != errors.Is(err, ErrOwner) || !knows && err != nil {
			t.Errorf("where conditions are known (%v): %v", knows, err)
		}
		if conditional.Load() == 0 {
			t.Error("the owner is written without a condition")
		}
	}
}
