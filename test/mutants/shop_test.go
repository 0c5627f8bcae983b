package mutants_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tienda/test/mutants"
)

// TestMutantsAreCaughtInAShop runs whole shops with a bug in them, lets customers of the worst kind in, and
// has the tools that operators run look at what came of it: `tienda load --verify` while the shop is there,
// `tienda audit` at what it left behind. In a shop without a bug both find nothing.
func TestMutantsAreCaughtInAShop(t *testing.T) {
	t.Parallel()
	all, root := load(t)
	good := program(t, root, "")
	t.Run("without", func(t *testing.T) {
		t.Parallel()
		data := t.TempDir()
		if found, err := visit(t, good, good, data); err != nil || len(found) > 0 {
			t.Errorf("tienda load --verify of a shop without a bug = %v, %v", found, err)
		}
		if found, err := audit(t, good, data); err != nil || len(found) > 0 {
			t.Errorf("tienda audit of a shop without a bug = %v, %v", found, err)
		}
	})
	for _, m := range all {
		if _, _, ok := m.Caught.Package(); ok {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			overlay, err := m.Plant(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			data := t.TempDir()
			found, err := visit(t, program(t, root, overlay), good, data)
			if m.Caught.Command == mutants.Audit {
				found, err = audit(t, good, data)
			}
			switch exit, failed := errors.AsType[*exec.ExitError](err); {
			case err == nil:
				t.Errorf("survives %s; what it breaks is not looked at: %s", m.Caught.Command, m.Breaks)
			case !failed || exit.ExitCode() != 1:
				t.Errorf("%s could not look: %v", m.Caught.Command, err)
			case !slices.Contains(found, m.Caught.Says):
				t.Errorf("%s finds violations of %v, want one of %q", m.Caught.Command, found, m.Caught.Says)
			}
		})
	}
}

// violated are the names of the invariants that a tool found violated, as it wrote them to JSON.
func violated(t *testing.T, text []byte) []string {
	t.Helper()
	type found struct {
		Invariants []struct {
			Name       string
			Violations int64
		}
	}
	var report struct {
		found
		Verification found
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatalf("the report is no JSON: %v\n%s", err, text)
	}
	var names []string
	for _, i := range slices.Concat(report.Invariants, report.Verification.Invariants) {
		if i.Violations > 0 {
			names = append(names, i.Name)
		}
	}
	return names
}

// program builds tienda, with an overlay if there is one.
func program(t *testing.T, root, overlay string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	binary := filepath.Join(t.TempDir(), "tienda")
	arguments := []string{"build", "-ldflags=-s -w", "-o", binary}
	if overlay != "" {
		arguments = append(arguments, "-overlay", overlay)
	}
	command := exec.CommandContext(ctx, "go", append(arguments, "./cmd/tienda")...)
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build tienda: %v\n%s", err, out)
	}
	return binary
}

// visit opens a shop of one program, lets customers of another in, and closes it again. The result is what
// `tienda load --verify` found.
func visit(t *testing.T, shop, customers, data string) (violations []string, err error) {
	t.Helper()
	offset := freePorts(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	open := exec.CommandContext(ctx, shop, "up", "--data", data, "--port-offset", fmt.Sprint(offset))
	var said strings.Builder
	open.Stdout, open.Stderr = &said, &said
	open.Cancel = func() error { return open.Process.Signal(syscall.SIGTERM) }
	open.WaitDelay = 20 * time.Second
	if err := open.Start(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- open.Wait() }()
	gateway := fmt.Sprintf("http://127.0.0.1:%d", 8080+offset)
	for ready := false; !ready; {
		select {
		case err := <-closed:
			t.Fatalf("the shop closed before it opened: %v\n%s", err, said.String())
		case <-ctx.Done():
			t.Fatalf("the shop does not open: %v", ctx.Err())
		case <-time.After(100 * time.Millisecond):
			ready = answers(ctx, gateway+"/product-service/api/products?size=1")
		}
	}
	report := filepath.Join(t.TempDir(), "load.json")
	command := exec.CommandContext(ctx, customers, "load", "--target", gateway, "--users", "4", "--checkouts", "30", "--mix", "hostile", "--seed", "7", "--admin", "admin", "--verify", "--json", report)
	command.Env = append(os.Environ(), "TIENDA_LOAD_ADMIN_PASSWORD=0000") // of the demo's administrator
	out, err := command.CombinedOutput()
	if errStop := open.Process.Signal(syscall.SIGTERM); errStop != nil {
		t.Errorf("close the shop: %v", errStop)
	}
	if errClosed := <-closed; errClosed != nil {
		t.Errorf("the shop closed with %v\n%s", errClosed, said.String())
	}
	text, errRead := os.ReadFile(report)
	if errRead != nil {
		t.Fatalf("tienda load: %v\n%s", err, out)
	}
	return violated(t, text), err
}

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// audit looks at what a shop left behind. Nothing goes on any more, so nothing gets time to agree.
func audit(t *testing.T, program, data string) (violations []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, program, "audit", "--data", data, "--grace", "1s", "--json")
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if len(out) == 0 {
		t.Fatalf("tienda audit: %v\n%s", err, said.String())
	}
	return violated(t, out), err
}

// ports are those of a shop without an offset.
var ports = [...]int{8080, 8300, 8400, 8500, 8600, 8700, 8761, 8800, 8900, 9296, 9411}

// freePorts is an offset at which all ports of a shop are free, below those that the kernel gives away.
func freePorts(t *testing.T) int {
	t.Helper()
	for range 100 {
		offset, free := 10_000+rand.IntN(13_000), true
		for _, port := range ports {
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port+offset))
			if err != nil {
				free = false
				break
			}
			_ = listener.Close() // it was only to see
		}
		if free {
			return offset
		}
	}
	t.Fatal("found no offset at which the ports of a shop are free")
	return 0
}
