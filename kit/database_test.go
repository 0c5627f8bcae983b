package kit

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestDatabaseIsAwaited: a server that cannot be reached yet is tried until it answers, or for as long as the
// setting says; what it answers is final.
func TestDatabaseIsAwaited(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, patience string
		answers        bool
		want           string
		tries          int // at least
	}{
		{"no patience", "0", false, "connection refused", 0},
		{"patience runs out", "1500", false, "connection refused", 2},
		{"it answers in time", "30s", true, "nobody is let in", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := freePort(t)
			if test.answers {
				time.AfterFunc(500*time.Millisecond, func() { refuseEverybody(t, address) })
			}
			var log logBuffer
			err := Run(t.Context(), Options{
				Listen: "127.0.0.1", Ports: map[string]int{"store": 0}, Logger: NewLogger(slog.NewJSONHandler(&log, nil)),
				Environ: []string{"SPRING_DATASOURCE_URL=jdbc:mysql://" + address + "/x", "SPRING_DATASOURCE_HIKARI_INITIALIZATIONFAILTIMEOUT=" + test.patience},
			}, Service{Name: "store", New: func(_ context.Context, env *Env) (http.Handler, error) {
				_, err := env.DB()
				return http.NotFoundHandler(), err
			}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Run = %v, want an error with %q", err, test.want)
			}
			tries := strings.Count(log.String(), "the database does not answer yet")
			if tries < test.tries || test.tries == 0 && tries > 0 {
				t.Errorf("it was tried again %d times, want %d\n%s", tries, test.tries, log.String())
			}
		})
	}
}

// freePort is an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// refuseEverybody is a MySQL server that answers each connection with an error.
func refuseEverybody(t *testing.T, address string) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { listener.Close() })
	// An ERR packet: length and number, 0xff, the code, the text.
	text := []byte("\xff\x00\x00nobody is let in")
	binary.LittleEndian.PutUint16(text[1:], 1130)
	packet := append([]byte{byte(len(text)), 0, 0, 0}, text...)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write(packet) // who is gone needs no refusal
		conn.Close()
	}
}
