package config

import (
	"io/fs"
	"strings"
	"testing"

	"tienda/cloudconfig"

	"github.com/google/go-cmp/cmp"
)

func TestFilesParse(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(Files, "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources, err := cloudconfig.Flatten(name, data, nil)
		if err != nil || len(sources) == 0 {
			t.Errorf("Flatten(%s) = %v, %v, want settings", name, sources, err)
		}
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	want := map[string]any{
		"api-gateway": int64(8080), "proxy-client": int64(8900), "user-service": int64(8700), "product-service": int64(8500),
		"order-service": int64(8300), "payment-service": int64(8400), "shipping-service": int64(8600), "favourite-service": int64(8800),
		"service-discovery": int64(8761), "cloud-config": int64(9296), "zipkin": int64(9411),
	}
	names, err := fs.Glob(Files, "*.yml")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]any)
	for _, name := range names {
		data, err := Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources, err := cloudconfig.Flatten(name, data, nil)
		if err != nil {
			t.Fatal(err)
		}
		env := cloudconfig.Environment{PropertySources: sources}
		if port, ok := env.Flat()["server.port"]; ok {
			got[strings.TrimSuffix(name, ".yml")] = port
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
}
