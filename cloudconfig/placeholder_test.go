package cloudconfig

import (
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"host": "localhost", "port": "80", "url": "http://${host}:${port}", "name": "host",
		"a": "${b}", "b": "${a}", "self": "x${self:y}", "empty": "", "odd:key": "odd", "shown": `\${host}`,
	}
	tests := []struct{ value, want string }{
		{"plain", "plain"},
		{"${host}", "localhost"},
		{"<${host}>:${port}", "<localhost>:80"},
		{"${url}/x", "http://localhost:80/x"},
		{"${none}", "${none}"},
		{"${none:}", ""},
		{"${none:http://localhost:4200}", "http://localhost:4200"},
		{"${none:${host}}", "localhost"},
		{"${none:${nil:${port}}}", "80"},
		{"${none:${nil}}", "${nil}"},
		{"${${name}}", "localhost"},
		{"${${nil:name}:x}", "host"},
		{`${none:{"a":{}}}`, `{"a":{}}`},
		{"${empty:x}", ""},
		{"${odd:key}", "odd"},
		{`\${host}`, "${host}"},
		{`\\${host}`, "${host}"},
		{`a\${host} ${port}`, "a${host} 80"},
		{"${shown}", "${host}"},
		{"${a}", "${a}"},
		{"${self}", "xy"},
		{"${host", "${host"},
		{"${", "${"},
		{"$host {host} $", "$host {host} $"},
		{"${}", "${}"},
		{"${:x}", "x"},
	}
	for _, tt := range tests {
		got := Resolve(tt.value, func(key string) (string, bool) {
			v, ok := values[key]
			return v, ok
		})
		if got != tt.want {
			t.Errorf("Resolve(%q) = %q, want %q", tt.value, got, tt.want)
		}
	}
}

func TestResolveBounds(t *testing.T) {
	t.Parallel()
	doubling := func(key string) (string, bool) { return "${" + key + "x}${" + key + "y}", true }
	if got := Resolve("${a}", doubling); len(got) > 64*maxPlaceholderText {
		t.Errorf("Resolve of doubling values gave %d bytes, want a bound", len(got))
	}
	deep := strings.Repeat("${a:", 10_000) + "x" + strings.Repeat("}", 10_000)
	none := func(string) (string, bool) { return "", false }
	if got := Resolve(deep, none); len(got) > len(deep) {
		t.Errorf("Resolve of deep defaults gave %d bytes, want at most %d", len(got), len(deep))
	}
}

func FuzzResolve(f *testing.F) {
	for _, seed := range []string{"${a}", `\${a}`, "${a:b}", "${a:${b:c}}", "${${a}}", "${a", "}${{}}"} {
		f.Add(seed, "${b}", "x")
	}
	f.Fuzz(func(t *testing.T, value, a, b string) {
		lookup := func(key string) (string, bool) {
			switch key {
			case "a":
				return a, true
			case "b":
				return b, true
			}
			return "", false
		}
		got := Resolve(value, lookup)
		if !strings.Contains(value, "${") && got != value {
			t.Errorf("Resolve(%q) = %q, want it unchanged", value, got)
		}
	})
}
