package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/order"
	"tienda/payment"
	"tienda/product"
	"tienda/shipping"
	"tienda/user"
	"tienda/zipkin"
)

// root is the folder of the repository, seen from this package.
const root = "../.."

// checkedOnly are the blocks of commands that no test runs, by their first line, with the reason. Their
// calls of tienda are still read by its parser.
func checkedOnly() map[string]string {
	return map[string]string{
		"bin/tienda run --demo cloud-config service-discovery zipkin user product payment shipping favourite proxy-client gateway": "serves on the real ports until it is stopped; the rows of run and up are the same",
		"export SPRING_DATASOURCE_USERNAME=tienda SPRING_DATASOURCE_PASSWORD=secret":                                               "needs a MySQL server at a fixed address; TestStory runs on one",
		"SPRING_CLOUD_CONFIG_SERVER_NATIVE_SEARCHLOCATIONS=file:/etc/tienda bin/tienda run cloud-config":                           "serves on the real port until it is stopped; TestConfigurationOfOnesOwn reads such a folder",
		"export TIENDA_LOAD_ADMIN_PASSWORD=0000":                                                                                   "takes half a minute; TestLoadOfTheDocuments runs it for two seconds",
		"bin/tienda administrator ada":                                                                                             "looks at ./data; TestAdministrator has a shop",
		"bin/tienda audit":                                                                                                         "looks at ./data; TestAuditStatus and TestAuditOfALiveShop do",
		"bin/tienda cost --environment stage":                                                                                      "prints what TestArchitecture compares",
		"./test/mariadb.sh go test -race ./order/":                                                                                 "is how these tests are run",
	}
}

// documents are all texts for people, by path from the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	read := func(path string) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = string(text)
	}
	read("README.md")
	read("CONTRIBUTING.md")
	err := fs.WalkDir(os.DirFS(root), "docs", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

var (
	fence      = regexp.MustCompile("(?ms)^```(\\w*)\\n(.*?)^```$")
	inlineCode = regexp.MustCompile("`([^`\n]+)`")
)

// blocks are the fenced blocks of a language.
func blocks(text, language string) []string {
	var found []string
	for _, match := range fence.FindAllStringSubmatch(text, -1) {
		if match[1] == language {
			found = append(found, match[2])
		}
	}
	return found
}

// local is a text with the real addresses replaced by those of a system under test.
func (s *system) local(text string) string {
	for _, row := range services() {
		text = strings.ReplaceAll(text, fmt.Sprintf("http://localhost:%d", row.Port), s.url(row.Name, ""))
	}
	return text
}

// shell gives lines to a shell one after the other, as pasting them does; a line that fails ends it.
func shell(t *testing.T, lines string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sh", "-e")
	command.Stdin = strings.NewReader(lines)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v of\n%s\n%s", err, lines, out)
	}
	return string(out)
}

// TestReadmeStory pastes the story of the README twice, then every other block that can be run.
func TestReadmeStory(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "sqlite")
	story := s.local(blocks(documents(t)["README.md"], "sh")[0])
	lines := slices.Collect(strings.Lines(story))
	trace := lines[len(lines)-1]
	for range 2 {
		out := shell(t, story)
		for _, want := range []string{`"status":"CONFIRMED"`, `"state":"CAPTURED"`, `"shipmentId":`, `"state":"PENDING"`} {
			if !strings.Contains(out, want) {
				t.Errorf("the story does not show %s:\n%s", want, out)
			}
		}
		s.eventually("the trace shows who took part", func() bool {
			seen := strings.Fields(shell(t, trace))
			return containsAll(seen, "api-gateway", "order-service", "payment-service", "product-service", "shipping-service")
		})
	}
	declined := shell(t, strings.ReplaceAll(strings.Join(lines[:len(lines)-2], ""), "tok_ok", "tok_declined"))
	if !strings.Contains(declined, `"status":"CANCELLED"`) || !strings.Contains(declined, "DECLINED") {
		t.Errorf("the story with tok_declined does not end in a cancelled order:\n%s", declined)
	}
	unseen := checkedOnly()
	for path, text := range documents(t) {
		for _, block := range blocks(text, "sh") {
			if _, listed := checkedOnly()[firstLine(block)]; listed || s.local(block) == story {
				delete(unseen, firstLine(block))
				continue
			}
			if out := shell(t, s.local(block)); strings.TrimSpace(out) == "" {
				t.Errorf("%s: nothing comes of\n%s", path, block)
			}
		}
	}
	for line := range unseen {
		t.Errorf("no document has the commands that begin with %q: take them off checkedOnly", line)
	}
	s.checkMetrics(documents(t)["docs/operations.md"])
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// checkMetrics compares the table of metrics with what the components show.
func (s *system) checkMetrics(operations string) {
	s.tb.Helper()
	documented := map[string]bool{}
	for _, row := range tableRows(operations, "| metric |") {
		for _, match := range inlineCode.FindAllStringSubmatch(row[0], -1) {
			documented[match[1]] = false
		}
	}
	for _, name := range componentNames() {
		a := s.call(http.StatusOK, request{component: name, method: "GET", path: "/metrics"})
		for line := range strings.Lines(string(a.body)) {
			metric, isType := strings.CutPrefix(line, "# TYPE ")
			metric, _, _ = strings.Cut(metric, " ")
			switch {
			case strings.HasPrefix(metric, "go_"), strings.HasPrefix(metric, "process_"):
			case isType:
				if _, ok := documented[metric]; !ok {
					s.tb.Errorf("docs/operations.md does not know the metric %s", metric)
				}
				documented[metric] = true
			case !strings.HasPrefix(line, "#") && !strings.Contains(line, `service="`+name+`"`):
				s.tb.Errorf("a sample of %s without its service: %s", name, line)
			}
		}
	}
	for metric, seen := range documented {
		if !seen && !strings.HasPrefix(metric, "gateway_") { // those appear with the first route that has such a filter
			s.tb.Errorf("docs/operations.md has a metric that nobody shows: %s", metric)
		}
	}
}

// TestCommandsInDocuments: what the documents say of make and tienda exists. A block of commands is run by
// TestReadmeStory or listed in checkedOnly; here every call of tienda in any of them is parsed.
func TestCommandsInDocuments(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	flags, subcommands := grammar(t)
	flags["faults"], flags["fault-points"] = true, true // of test builds, see faults_on.go
	var (
		target = regexp.MustCompile(`\bmake ([a-z-]+)`)
		call   = regexp.MustCompile(`(?:bin/|cmd/)?tienda ([a-z][a-z-]*)`)
		flag   = regexp.MustCompile(`(?:^|\s)--([a-z-]+)`)
	)
	for path, text := range documents(t) {
		prose := fence.ReplaceAllString(text, "")
		var code []string
		for _, match := range inlineCode.FindAllStringSubmatch(prose, -1) {
			code = append(code, match[1])
			if strings.HasPrefix(match[1], "--") || strings.Contains(match[1], "tienda ") {
				for _, name := range flag.FindAllStringSubmatch(match[1], -1) {
					if !flags[name[1]] {
						t.Errorf("%s: `%s`: there is no flag --%s", path, match[1], name[1])
					}
				}
			}
			if name := call.FindStringSubmatch(match[1]); name != nil && !subcommands[name[1]] {
				t.Errorf("%s: `%s`: there is no subcommand %s", path, match[1], name[1])
			}
		}
		for _, match := range fence.FindAllStringSubmatch(text, -1) {
			code = append(code, match[2])
		}
		for _, name := range target.FindAllStringSubmatch(strings.Join(code, "\n"), -1) {
			if !regexp.MustCompile(`(?m)^(?:[a-z-]+ )*` + name[1] + `(?: [a-z-]+)*:`).Match(makefile) {
				t.Errorf("%s: there is no target %s in the Makefile", path, name[1])
			}
		}
		for _, block := range blocks(text, "sh") {
			for line := range strings.Lines(block) {
				_, arguments, ok := strings.Cut(line, "bin/tienda ")
				if !ok {
					continue
				}
				if _, err := parserFor(t).Parse(strings.Fields(arguments)); err != nil {
					t.Errorf("%s: %s: %v", path, strings.TrimSpace(line), err)
				}
			}
		}
	}
}

func parserFor(t *testing.T) *kong.Kong {
	t.Helper()
	parser, err := kong.New(new(commands), kong.Vars{"components": ""}, kong.Writers(io.Discard, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

// grammar is what the command line knows.
func grammar(t *testing.T) (flags, subcommands map[string]bool) {
	t.Helper()
	flags, subcommands = map[string]bool{}, map[string]bool{}
	var below func(node *kong.Node)
	below = func(node *kong.Node) {
		for _, flag := range node.Flags {
			flags[flag.Name] = true
			if flag.Tag.Negatable != "" {
				flags["no-"+flag.Name] = true
			}
		}
		for _, child := range node.Children {
			below(child)
		}
	}
	for _, node := range parserFor(t).Model.Children {
		subcommands[node.Name] = true
		below(node)
	}
	return flags, subcommands
}

// TestLinksInDocuments: what is linked from a document is there, headings included.
func TestLinksInDocuments(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for path, text := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			target, heading, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := path
			if target != "" {
				file = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links to %s: %v", path, match[1], err)
			}
			if heading == "" {
				continue
			}
			// A directory has no headings.
			there, _ := os.ReadFile(filepath.Join(root, file))
			if !slices.Contains(headings(string(there)), heading) {
				t.Errorf("%s links to %s: there is no such heading", path, match[1])
			}
		}
	}
}

// headings are the anchors of a document, made as GitHub makes them.
func headings(text string) []string {
	var anchors []string
	for line := range strings.Lines(fence.ReplaceAllString(text, "")) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			anchor := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(title)), " ", "-")
			anchors = append(anchors, regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(anchor, ""))
		}
	}
	return anchors
}

// tableRows are the cells of the table whose head begins as given, the head excluded.
func tableRows(text, head string) [][]string {
	var rows [][]string
	inside := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, head):
			inside = true
		case !strings.HasPrefix(line, "|"):
			inside = false
		case inside && !strings.HasPrefix(line, "|--"):
			var cells []string
			for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
				cells = append(cells, strings.TrimSpace(cell))
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

// TestReadmeComponents compares table and picture of the README with the table in services.go.
func TestReadmeComponents(t *testing.T) {
	t.Parallel()
	text := documents(t)["README.md"]
	var got, want [][]string
	for _, row := range tableRows(text, "| component |") {
		got = append(got, row[:4])
	}
	needs := map[string][]string{}
	for _, row := range services() {
		path := row.Context
		if path == "" {
			path = "/"
		}
		want = append(want, []string{row.Title, "`" + row.Name + "`", strconv.Itoa(row.Port), path})
		if len(row.Needs) > 0 {
			needs[row.Name] = slices.Sorted(slices.Values(row.Needs))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table of components (-services.go +README.md)\n%s", diff)
	}
	drawn := map[string][]string{}
	arrow := regexp.MustCompile(`^\s+(.+?) (?:-->|-\. .+ \.->) (.+)$`)
	for line := range strings.SplitSeq(blocks(text, "mermaid")[0], "\n") {
		match := arrow.FindStringSubmatch(line)
		if match == nil || strings.HasPrefix(match[1], "client") {
			continue
		}
		for from := range strings.SplitSeq(match[1], " & ") {
			drawn[from] = append(drawn[from], strings.Split(match[2], " & ")...)
			slices.Sort(drawn[from])
		}
	}
	if diff := cmp.Diff(needs, drawn); diff != "" {
		t.Errorf("arrows of the picture (-services.go +README.md)\n%s", diff)
	}
}

// TestDocumentedSettings compares the table of settings with those that are bound, defaults included.
func TestDocumentedSettings(t *testing.T) {
	t.Parallel()
	documented := map[string]string{}
	for _, row := range tableRows(documents(t)["docs/operations.md"], "| setting |") {
		if name := strings.Trim(row[0], "`"); strings.HasPrefix(name, "tienda.") {
			documented[name] = strings.Trim(row[1], "`")
		}
	}
	known := knownSettings()
	slices.Sort(known)
	if diff := cmp.Diff(known, slices.Sorted(maps.Keys(documented))); diff != "" {
		t.Errorf("settings (-knownSettings +docs/operations.md)\n%s", diff)
	}
	defaults := map[string]string{}
	for prefix, settings := range map[string]any{
		"tienda.user": user.DefaultSettings(), "tienda.product": product.DefaultSettings(), "tienda.order": order.DefaultSettings(),
		"tienda.payment": payment.DefaultSettings(), "tienda.shipping": shipping.DefaultSettings(), "tienda.zipkin": zipkin.DefaultSettings(),
	} {
		defaultsOf(prefix, reflect.ValueOf(settings), defaults)
	}
	for name, want := range defaults {
		if documented[name] != want {
			t.Errorf("docs/operations.md: the default of %s is %q, want %q", name, documented[name], want)
		}
	}
}

// defaultsOf writes the values of a struct with koanf tags as the documents write them.
func defaultsOf(prefix string, value reflect.Value, into map[string]string) {
	for field, member := range value.Fields() {
		tag := field.Tag.Get("koanf")
		if tag == "" || tag == "-" {
			continue
		}
		name := prefix + "." + tag
		switch v := member.Interface().(type) {
		case time.Duration:
			text := v.String()
			for _, zero := range []string{"m0s", "h0m"} {
				if short, ok := strings.CutSuffix(text, zero); ok {
					text = short + zero[:1]
				}
			}
			into[name] = text
		case []string:
			into[name] = strings.Join(v, ",")
		default:
			if member.Kind() == reflect.Struct {
				defaultsOf(name, member, into)
				continue
			}
			into[name] = fmt.Sprint(v)
		}
	}
}

// TestSchemasOfSeveral: the rule by which components share one URL of a MySQL server.
func TestSchemasOfSeveral(t *testing.T) {
	t.Parallel()
	environ := environment{"SPRING_DATASOURCE_URL=jdbc:mysql://db:3306/tienda?useSSL=true"}
	for _, c := range []struct {
		names []string
		want  map[string]string
	}{
		{[]string{"order"}, map[string]string{"order-service": ""}},
		{[]string{"order", "gateway"}, map[string]string{"order-service": "", "api-gateway": ""}},
		{[]string{"order", "user"}, map[string]string{
			"order-service": "jdbc:mysql://db:3306/tienda_order?useSSL=true", "user-service": "jdbc:mysql://db:3306/tienda_user?useSSL=true"}},
	} {
		rows, err := selected(c.names)
		if err != nil {
			t.Fatal(err)
		}
		place := place{Data: t.TempDir()}
		opts, err := place.options(environ, rows)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range c.want {
			if got := opts.Overrides[name]["spring.datasource.url"]; got != want {
				t.Errorf("data source of %s among %v = %q, want %q (\"\" is that of the environment)", name, c.names, got, want)
			}
		}
	}
}

// TestSetWinsInUp: what --set names is not taken back by the addresses that up knows itself.
func TestSetWinsInUp(t *testing.T) {
	t.Parallel()
	up := upCommand{place: place{Data: t.TempDir(), Listen: "127.0.0.1", Set: []string{"spring.zipkin.base-url=http://collector:4318"}}}
	opts, err := up.options(nil, services())
	if err != nil {
		t.Fatal(err)
	}
	up.connect(&opts)
	if got := opts.Flags["spring.zipkin.base-url"]; got != "http://collector:4318" {
		t.Errorf("spring.zipkin.base-url = %q, want that of --set", got)
	}
}

// TestConfigurationOfOnesOwn: cloud-config serves the folder it is told of, and the others take it up.
func TestConfigurationOfOnesOwn(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "application.yml"), []byte("tienda: {currency: EUR}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startWith(t, t.TempDir(), environment{"SPRING_CLOUD_CONFIG_SERVER_NATIVE_SEARCHLOCATIONS=file:" + folder})
	var product api.Product
	s.call(http.StatusOK, request{method: "GET", path: "/product-service/api/products/1"}).decode(t, &product)
	if product.Currency != "EUR" {
		t.Errorf("currency = %q, want EUR of the folder", product.Currency)
	}
}

// TestACopyOfTheDataIsABackup: what was answered is in a copy of the folder made after the stop.
func TestACopyOfTheDataIsABackup(t *testing.T) {
	t.Parallel()
	data, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	s := start(t, data, "sqlite")
	token := s.login("selimhorri", "0000")
	mine := request{method: "GET", path: "/order-service/api/carts/mine", token: token}
	before := s.call(http.StatusOK, mine)
	s.end()
	if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	restored := start(t, backup, "sqlite")
	if after := restored.call(http.StatusOK, mine); !bytes.Equal(before.body, after.body) {
		t.Errorf("cart after the restore = %s, want %s", after.body, before.body)
	}
}
