package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/load"
)

// load runs `tienda load` against the system and returns what it printed.
func (s *system) load(args ...string) (out string, err error) {
	s.tb.Helper()
	var text lockedBuffer
	args = append([]string{"load", "--target", s.url("api-gateway", "")}, args...)
	err = Run(s.tb.Context(), args, environment{"TIENDA_LOAD_ADMIN_PASSWORD=0000"}, terminal{&text, &lockedBuffer{}})
	return text.String(), err
}

// TestLoad drives customers of the worst kind through a whole shop and proves what became of their orders.
func TestLoad(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *system) {
		file := filepath.Join(t.TempDir(), "load.json")
		out, err := s.load("--users", "6", "--checkouts", "60", "--mix", "hostile", "--seed", "7", "--admin", "admin", "--verify", "--json", file)
		if err != nil {
			t.Fatalf("load: %v\n%s", err, out)
		}
		for _, want := range []string{"60 checkouts", "unknown 0", "everything holds", "ledger", "same answer"} {
			if !strings.Contains(out, want) {
				t.Errorf("the report does not say %q:\n%s", want, out)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var report struct {
			Outcomes map[string]int64
			Steps    []struct {
				Name  string
				Count int64
				P99Ms float64
			}
			Verification struct {
				Violations int64
				Invariants []struct{ Rows int64 }
			}
		}
		if err := json.Unmarshal(text, &report); err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, n := range report.Outcomes {
			total += n
		}
		if total != 60 || report.Outcomes["201"] == 0 || report.Outcomes["202"] == 0 || report.Outcomes["402"] == 0 {
			t.Errorf("outcomes = %v, want 60, confirmed, accepted and declined ones among them", report.Outcomes)
		}
		for _, step := range report.Steps {
			if step.Count == 0 || step.P99Ms <= 0 {
				t.Errorf("step %+v was not measured", step)
			}
		}
		rows := int64(0)
		for _, i := range report.Verification.Invariants {
			rows += i.Rows
		}
		if rows < 500 || report.Verification.Violations != 0 || len(report.Verification.Invariants) != 19 {
			t.Errorf("verification = %+v", report.Verification)
		}
	})
}

// TestLoadWithoutAdministrator buys what there is of a shop that has little, and takes it as it comes when
// that is sold.
func TestLoadWithoutAdministrator(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "sqlite")
	admin := s.login("admin", "0000")
	var products api.List[api.Product]
	s.call(http.StatusOK, request{method: "GET", path: "/product-service/api/products?inStock=true"}).decode(t, &products)
	for i, product := range products.Collection {
		if left := *product.Quantity - 1; left > 0 {
			s.call(http.StatusCreated, request{method: "POST", path: fmt.Sprintf("/product-service/api/products/%d/stock-movements", product.ProductID), token: admin,
				body: fmt.Sprintf(`{"quantity":%d,"reason":"WRITTEN_OFF"}`, -left), header: key(fmt.Sprint("left-", i))})
		}
	}
	file := filepath.Join(t.TempDir(), "load.json")
	out, err := s.load("--users", "4", "--checkouts", "100", "--mix", "checkout", "--verify", "--json", file)
	if err != nil || !strings.Contains(out, "everything holds") {
		t.Errorf("load: %v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report struct{ Outcomes map[string]int64 }
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	sold, short := report.Outcomes["201"]+report.Outcomes["202"], report.Outcomes["409"]
	if sold == 0 || short == 0 || sold+short != 100 || sold > int64(len(products.Collection)) {
		t.Errorf("outcomes = %v, want sales of at most the %d things there were, and for the rest 409", report.Outcomes, len(products.Collection))
	}
}

// TestLoadThroughOutages: the gateway and other components go away and come back while customers are
// there. The run goes on to its end, and every promise holds.
func TestLoadThroughOutages(t *testing.T) {
	t.Parallel()
	names := []string{"api-gateway", "order-service", "payment-service", "user-service"}
	s := inPieces(t, names...)
	stops := map[string]func(){}
	for _, name := range names {
		stops[name] = s.begin(name)
	}
	for _, path := range []string{"/app/.well-known/jwks.json", "/product-service/api/products"} {
		s.works(http.StatusOK, request{method: "GET", path: path})
	}
	type outcome struct {
		out string
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		out, err := s.load("--users", "6", "--checkouts", "80", "--mix", "hostile", "--admin", "admin", "--verify")
		done <- outcome{out, err}
	}()
	for _, name := range names {
		time.Sleep(time.Second) // of a run, not for anything to happen
		stops[name]()
		stops[name] = s.begin(name)
	}
	o := <-done
	if o.err != nil || !strings.Contains(o.out, "80 checkouts") || !strings.Contains(o.out, "everything holds") {
		t.Errorf("load: %v\n%s", o.err, o.out)
	}
	if !strings.Contains(o.out, " 503") && !strings.Contains(o.out, " no connection") {
		t.Errorf("no customer met an outage, so this test shows nothing:\n%s", o.out)
	}
}

// TestLoadOfTheDocuments runs the command of docs/operations.md, if for a shorter time, and compares the
// tables there with the mixes there are and with what a verification looks at.
func TestLoadOfTheDocuments(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "sqlite")
	text := documents(t)["docs/operations.md"]
	_, line, ok := strings.Cut(text, "bin/tienda load ")
	line, _, _ = strings.Cut(line, "\n")
	line = strings.Replace(line, "--duration 30s", "--duration 2s", 1)
	if !ok || !strings.Contains(line, "2s") {
		t.Fatalf("docs/operations.md runs no load of 30 s: %q", line)
	}
	out, err := s.load(append(strings.Fields(line), "--mix", "story,browse=0,async=50,declined=30,lost-answer=0,slow=0")...)
	if err != nil {
		t.Fatalf("load: %v\n%s", err, out)
	}
	for _, row := range tableRows(text[strings.Index(text, "\n## Load"):], "| invariant |") {
		name := strings.Trim(row[0], "`")
		sentence, _, _ := strings.Cut(row[1], ";")
		if !strings.Contains(out, sentence) {
			t.Errorf("the report does not have the invariant %q of the documents, %q:\n%s", name, sentence, out)
		}
	}
	var shares map[string]int
	story, err := json.Marshal(load.Mixes()["story"])
	if err == nil {
		err = json.Unmarshal(story, &shares)
	}
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]int{}
	for _, row := range tableRows(text, "| share |") {
		if documented[strings.Trim(row[0], "`")], err = strconv.Atoi(row[1]); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(shares, documented); diff != "" {
		t.Errorf("shares of the mix story (-program +docs):\n%s", diff)
	}
}

// TestHelpNamesDefaults: who leaves a flag out learns from the help what that means.
func TestHelpNamesDefaults(t *testing.T) {
	t.Parallel()
	for command, want := range map[string][]string{
		"up":      {"./data unless given", "127.0.0.1 unless given"},
		"run":     {"./data unless given"},
		"migrate": {"./data unless given"},
		"audit":   {"./data unless given", "1m unless given"},
		"load":    {"http://localhost:8080 unless given", "story unless given", "1 unless given", "./data unless given", "1000000 unless given"},
	} {
		var out lockedBuffer
		if err := Run(t.Context(), []string{command, "--help"}, nil, terminal{&out, &out}); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(out.String()), " ")
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("tienda %s --help does not say %q:\n%s", command, w, &out)
			}
		}
	}
}

// TestLoadStatus: a script can tell a shop that breaks its promises from a run that could not be.
func TestLoadStatus(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		says string
		want int
	}{
		"nobody there":        {[]string{"--target", "http://127.0.0.1:1"}, "is the shop running", statusBlind},
		"unknown mix":         {[]string{"--mix", "rush"}, "--mix: \"rush\" is no mix", statusUsage},
		"two ends":            {[]string{"--checkouts", "5", "--duration", "5s"}, "can't be used together", statusUsage},
		"no users":            {[]string{"--users=-1"}, "users is -1: want 1 to 10000", statusBlind},
		"zero users":          {[]string{"--users", "0"}, "--users must not be 0", statusUsage},
		"no time":             {[]string{"--duration", "0s"}, "--duration must not be 0", statusUsage},
		"products of a run":   {[]string{"--products", "5"}, "--products goes together with --fill", statusUsage},
		"folder of a run":     {[]string{"--data", "/nowhere"}, "--data goes together with --fill", statusUsage},
		"fill that verifies":  {[]string{"--fill", "--data", "/nowhere", "--verify"}, "--verify does not go together with --fill", statusUsage},
		"fill with a target":  {[]string{"--target", "http://127.0.0.1:1", "--fill", "--data", "/nowhere"}, "--target does not go together with --fill", statusUsage},
		"password without":    {[]string{"--admin", "admin", "--admin-password-file", "/nowhere"}, "--admin-password-file: /nowhere", statusUsage},
		"file without name":   {[]string{"--admin-password-file", "x"}, "goes together with --admin", statusUsage},
		"folder for the JSON": {[]string{"--json", "/"}, "--json: /: is a directory", statusUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Run(t.Context(), append([]string{"load"}, c.args...), nil, terminal{&lockedBuffer{}, &lockedBuffer{}})
			if err == nil || !strings.Contains(err.Error(), c.says) || statusOf(err) != c.want {
				t.Errorf("Run = %v with status %d, want %q with %d", err, statusOf(err), c.says, c.want)
			}
		})
	}
}
