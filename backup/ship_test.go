package backup

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRotationWhileShipping: what the server writes to a log, and then to the next, while a part of the first is uploaded, is shipped to its
// last event.
func TestRotationWhileShipping(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, _ := newKeys(t)
	store := NewStore(s.bucket(t), writes, quiet())
	spool := t.TempDir()
	write := func(file string, parts ...[]byte) {
		f, err := os.OpenFile(filepath.Join(spool, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.Write(bytes.Join(parts, nil))
		}
		if err != nil {
			t.Error(err)
			return
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	tail := anEvent(102, "the last orders")
	write("binlog.000001", binlogMagic, anEvent(100, "format, checksum"), anEvent(101, "orders"))
	var once sync.Once
	s.failing(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			once.Do(func() {
				write("binlog.000001", tail)
				write("binlog.000002", binlogMagic, anEvent(103, "format, checksum"))
			})
		}
		return false
	})
	p := NewShipper(store, ShipOptions{Now: time.Now})
	at := &place{history: "h", file: "binlog.000001"}
	for range 2 {
		if err := p.shipLogs(t.Context(), spool, at, nil); err != nil {
			t.Fatal(err)
		}
	}
	all, err := store.histories(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || len(all[0].logs) != 2 {
		t.Fatalf("shipped %+v, want two logs", all)
	}
	first := all[0].logs[0]
	if want := time.Unix(102, 0); !first.last.Equal(want) {
		t.Errorf("the first log is shipped up to the event of %v, want %v", first.last, want)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) != 1 {
		t.Errorf("the spool holds %v, %v, want the second log", left, err)
	}
}

// passage leads to a server, and can have connections that are there end as they do when a machine is gone: without a word.
type passage struct {
	net.Listener
	mu     sync.Mutex
	frozen []*atomic.Bool // a switch for each connection, of those that copy logs at least
}

// copiesLogs is the command of the protocol by which a client asks for binary logs.
const copiesLogs = 0x12

// newPassage leads to an address. Only those who copy logs can be frozen, unless all can.
func newPassage(t *testing.T, to string, all bool) *passage {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &passage{Listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			frozen := &atomic.Bool{}
			join := func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.frozen = append(p.frozen, frozen)
			}
			if all {
				join()
			}
			pass := func(from, to net.Conn, see func([]byte)) {
				buffer := make([]byte, 64<<10)
				for {
					n, err := from.Read(buffer)
					if frozen.Load() { // whatever is said, and even the end, is not heard of
						if err != nil {
							return
						}
						continue
					}
					see(buffer[:n])
					if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
						_, _ = client.Close(), server.Close()
						return
					}
				}
			}
			go pass(client, server, func(text []byte) {
				if !all && len(text) > 4 && text[4] == copiesLogs {
					join()
				}
			})
			go pass(server, client, func([]byte) {})
		}
	}()
	return p
}

func (p *passage) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, frozen := range p.frozen {
		frozen.Store(true)
	}
}

// TestServerFallsSilent: shipping goes on over new connections when those that it has bring nothing any more, and do not end either.
func TestServerFallsSilent(t *testing.T) {
	t.Parallel()
	for name, all := range map[string]bool{"of the tool alone": false, "every connection": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			writes, _ := newKeys(t)
			d := newDatabase(t)
			d.account()
			d.fill()
			way := newPassage(t, strings.TrimSuffix(strings.TrimPrefix(d.Server.URL, "jdbc:mysql://"), "/"), all)
			there := d.backup
			there.URL = "jdbc:mysql://" + way.Addr().String() + "/"
			p, stop := ship(t, NewStore(newStand(t).bucket(t), writes, quiet()), there)
			shipped(t, p)
			way.freeze()
			d.order("after the silence")
			shipped(t, p)
			stop()
		})
	}
}
