package main

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	containers "github.com/google/go-containerregistry/pkg/registry"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/registry"
)

// TestPack packs every chart twice, from here and from a copy of it, and pushes it: the bytes are the same, the registry has what was
// packed, and a second push replaces nothing.
func TestPack(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(containers.New(containers.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	place := strings.TrimPrefix(server.URL, "http://") + "/shop/charts"
	charts, err := filepath.Glob("../helm/*/Chart.yaml")
	if err != nil || len(charts) != 2 {
		t.Fatalf("charts: %v, %v; want two", charts, err)
	}
	for _, file := range charts {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			copied := filepath.Join(t.TempDir(), name)
			if err := os.CopyFS(copied, os.DirFS(filepath.Dir(file))); err != nil {
				t.Fatal(err)
			}
			pack := func(folder, version, to string, more ...string) (string, error) {
				var said bytes.Buffer
				err := run(append([]string{"-chart", folder, "-version", version, "-created", "1700000000", "-o", to, "-plain"}, more...), &said)
				return said.String(), err
			}
			here, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "new")
			first, err := pack(filepath.Dir(file), "v1.2.3", here, "-push", place)
			if err != nil {
				t.Fatal(err)
			}
			again, err := pack(copied, "v1.2.3", elsewhere, "-push", place+"/")
			if err != nil {
				t.Fatal(err)
			}
			digest := regexp.MustCompile(`(?m)^pushed +(\S+)@(sha256:[0-9a-f]{64})$`)
			if a, b := digest.FindString(first), digest.FindString(again); a == "" || a != b {
				t.Errorf("the first push says %q, and one of the same chart %q", first, again)
			}
			archives, err := filepath.Glob(filepath.Join(here, name+"-*.tgz"))
			if err != nil || len(archives) != 1 {
				t.Fatalf("archives: %v, %v", archives, err)
			}
			packed, copy := read(t, archives[0]), read(t, filepath.Join(elsewhere, filepath.Base(archives[0])))
			if !bytes.Equal(packed, copy) {
				t.Error("two archives of the same chart differ")
			}
			chart, err := loader.LoadArchive(bytes.NewReader(packed))
			if err != nil || chart.Metadata.AppVersion != "v1.2.3" {
				t.Fatalf("the archive is of %v, %v", chart.Metadata, err)
			}
			client, err := registry.NewClient(registry.ClientOptPlainHTTP(), registry.ClientOptWriter(io.Discard))
			if err != nil {
				t.Fatal(err)
			}
			pulled, err := client.Pull(place + "/" + name + ":" + chart.Metadata.Version)
			if err != nil || !bytes.Equal(pulled.Chart.Data, packed) || pulled.Manifest.Digest != digest.FindStringSubmatch(first)[2] {
				t.Errorf("the registry has another chart, or under another digest: %v", err)
			}
			if said, err := pack(copied, "v1.2.4", elsewhere, "-push", place); err == nil || !strings.Contains(err.Error(), "raise version") {
				t.Errorf("another chart of the same version: %v, %s", err, said)
			}
		})
	}
	if err := run([]string{"-chart", "../helm/tienda"}, io.Discard); err == nil || !strings.Contains(err.Error(), "make package") {
		t.Errorf("without a version: %v", err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
