package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/x509"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// root is the repository, seen from this package.
const root = "../.."

// maxImage is how large the archive may be, and the files of each platform's image.
const maxImage = 60 << 20

// TestImage builds the image twice, from here and from a copy of the sources elsewhere, and looks at what
// came out.
func TestImage(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	place := strings.TrimPrefix(server.URL, "http://") + "/shop/tienda:1.2.3"
	here, elsewhere := filepath.Join(t.TempDir(), "new"), t.TempDir()
	build := func(source, out string, more ...string) string {
		t.Helper()
		var said bytes.Buffer
		args := append([]string{"-source", source, "-version", "1.2.3", "-created", "1700000000", "-o", filepath.Join(out, "tienda.oci.tar")}, more...)
		if err := run(t.Context(), args, &said); err != nil {
			t.Fatal(err)
		}
		return said.String()
	}
	said := build(root, here, "-push", place)
	copySources(t, elsewhere)
	build(elsewhere, elsewhere)
	for _, file := range []string{"tienda.oci.tar", "tienda.linux-amd64.cdx.json", "tienda.linux-arm64.cdx.json"} {
		if !bytes.Equal(read(t, filepath.Join(here, file)), read(t, filepath.Join(elsewhere, file))) {
			t.Errorf("%s differs between two builds of the same sources", file)
		}
	}
	if size := len(read(t, filepath.Join(here, "tienda.oci.tar"))); size > maxImage {
		t.Errorf("the archive has %d bytes, want at most %d", size, maxImage)
	}

	index := open(t, filepath.Join(here, "tienda.oci.tar"))
	if err := validate.Index(index); err != nil {
		t.Errorf("the archive is no valid OCI layout: %v", err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said, digest.String()) {
		t.Errorf("the digest %s was not told:\n%s", digest, said)
	}
	pushed := pull(t, place)
	if got, err := pushed.Digest(); err != nil || got != digest {
		t.Errorf("pushed %v (%v), want %v", got, err, digest)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, descriptor := range manifest.Manifests {
		seen = append(seen, descriptor.Platform.String())
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(descriptor.Platform.Architecture, func(t *testing.T) {
			t.Parallel()
			bill := read(t, filepath.Join(here, "tienda.linux-"+descriptor.Platform.Architecture+".cdx.json"))
			checkImage(t, image, descriptor.Platform.Architecture, bill)
		})
	}
	if diff := cmp.Diff(strings.Split(platforms, ","), seen); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}

// checkImage looks at what is promised of the image for one architecture.
func checkImage(t *testing.T, image v1.Image, architecture string, bill []byte) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != architecture || config.OS != "linux" {
		t.Errorf("the image is for %s/%s, want linux/%s", config.OS, config.Architecture, architecture)
	}
	want := v1.Config{
		Entrypoint: []string{"/tienda"}, User: "65532:65532", WorkingDir: "/var/lib/tienda",
		Env: []string{"SERVER_ADDRESS=0.0.0.0", "ZONEINFO=/usr/share/zoneinfo.zip"},
		Labels: map[string]string{
			"org.opencontainers.image.title": "tienda", "org.opencontainers.image.version": "1.2.3", "org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	files, size := extract(t, image)
	if size > maxImage {
		t.Errorf("the files have %d bytes, want at most %d", size, maxImage)
	}
	var listed []string
	for path, f := range files {
		listed = append(listed, path)
		if f.header.Uid != 0 && path != "var/lib/tienda/" {
			t.Errorf("%s belongs to user %d, want root: the program must not change it", path, f.header.Uid)
		}
	}
	slices.Sort(listed)
	if diff := cmp.Diff([]string{
		"etc/", "etc/group", "etc/passwd", "etc/ssl/", "etc/ssl/certs/", "etc/ssl/certs/ca-certificates.crt", "tienda", "tmp/",
		"usr/", "usr/share/", "usr/share/zoneinfo.zip", "var/", "var/lib/", "var/lib/tienda/",
	}, listed); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if home := files["var/lib/tienda/"].header; home.Uid != userID || home.Mode != 0o700 {
		t.Errorf("the home folder belongs to %d with mode %o, want %d and 700", home.Uid, home.Mode, userID)
	}
	if mode := files["tmp/"].header.Mode; mode != 0o1777 {
		t.Errorf("/tmp has mode %o, want 1777", mode)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"].data) {
		t.Error("the file of root certificates holds none")
	}
	checkZones(t, files["usr/share/zoneinfo.zip"].data)
	checkProgram(t, files["tienda"].data, architecture, bill)
}

// checkProgram looks at the program of an image: static, with the modules that its bill lists. That of this
// machine is run.
func checkProgram(t *testing.T, program []byte, architecture string, bill []byte) {
	t.Helper()
	parsed, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[architecture]
	if parsed.Machine != machine {
		t.Errorf("the program is for %v, want %v", parsed.Machine, machine)
	}
	for _, segment := range parsed.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is linked dynamically: it has a %v segment", segment.Type)
		}
	}
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"std@" + info.GoVersion}
	for _, module := range info.Deps {
		want = append(want, module.Path+"@"+module.Version)
	}
	var listed cdx.BOM
	if err := json.Unmarshal(bill, &listed); err != nil {
		t.Fatal(err)
	}
	if listed.BOMFormat != cdx.BOMFormat || listed.SpecVersion.String() == "" || !strings.HasPrefix(listed.SerialNumber, "urn:uuid:") {
		t.Errorf("the bill of materials is %s %s, number %q: GitHub's attestations take only those that have all three", listed.BOMFormat, listed.SpecVersion, listed.SerialNumber)
	}
	var got []string
	for _, component := range *listed.Components {
		got = append(got, component.Name+"@"+component.Version)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bill of materials (-program +bill):\n%s", diff)
	}
	if architecture != runtime.GOARCH {
		return
	}
	path := filepath.Join(t.TempDir(), "tienda")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "version").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "tienda 1.2.3" {
		t.Errorf("tienda version = %q, %v, want tienda 1.2.3", out, err)
	}
}

// checkZones looks for a time zone as Go does, which wants the entries of the file uncompressed.
func checkZones(t *testing.T, zoneinfo []byte) {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(zoneinfo), int64(len(zoneinfo)))
	if err != nil {
		t.Fatal(err)
	}
	const zone = "Africa/Tunis"
	i := slices.IndexFunc(archive.File, func(f *zip.File) bool { return f.Name == zone && f.Method == zip.Store })
	if i < 0 {
		t.Fatalf("%s is not in the time zones, uncompressed", zone)
	}
	entry, err := archive.File[i].Open()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(entry)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := time.LoadLocationFromTZData(zone, data); err != nil {
		t.Errorf("%s: %v", zone, err)
	}
}

// TestDockerfile holds the Dockerfile to the image that is built without it.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	text := string(read(t, "../Dockerfile"))
	_, last, ok := strings.Cut(text, "\nFROM scratch\n")
	if !ok {
		t.Fatal("the image of the Dockerfile is not from scratch")
	}
	var got []string
	for line := range strings.Lines(last) {
		if word, _, _ := strings.Cut(line, " "); word != "COPY" {
			got = append(got, strings.TrimSpace(line))
		}
	}
	config := configOf(t)
	want := []string{}
	for _, variable := range config.Env {
		want = append(want, "ENV "+variable)
	}
	want = append(want, "WORKDIR "+config.WorkingDir, "USER "+config.User, `ENTRYPOINT ["`+strings.Join(config.Entrypoint, `", "`)+`"]`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("instructions (-image +Dockerfile):\n%s", diff)
	}
	for _, path := range []string{"/etc/ssl/certs/ca-certificates.crt", zones, home} {
		if !regexp.MustCompile(`(?m)^COPY .* ` + regexp.QuoteMeta(path) + `$`).MatchString(last) {
			t.Errorf("the Dockerfile does not copy %s", path)
		}
	}
}

// configOf is the configuration that images get, of one around an empty file.
func configOf(t *testing.T) v1.Config {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tienda")
	if err := os.WriteFile(program, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	base, err := layer(nil)
	if err != nil {
		t.Fatal(err)
	}
	image, err := build{version: "1"}.image(v1.Platform{OS: "linux", Architecture: "amd64"}, base, program)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config.Config
}

// TestRefusals: what cannot work is said before anything is built.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no version", nil, "-version is missing"},
		{"unknown platform", []string{"-version", "1", "-platforms", "a/b/c/d"}, `platform "a/b/c/d"`},
		{"no such flag", []string{"-fast"}, "-fast"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := run(t.Context(), append(test.args, "-o", filepath.Join(t.TempDir(), "x.oci.tar")), io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("run(%q) = %v, want an error with %q", test.args, err, test.want)
			}
		})
	}
}

// copySources copies what the program is built from.
func copySources(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if inside != "." && strings.HasPrefix(inside, ".") || slices.Contains([]string{"bin", "data", "deploy", "docs", "test"}, inside) {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, inside), 0o700)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		return os.WriteFile(filepath.Join(to, inside), read(t, path), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// open reads the index of an archive.
func open(t *testing.T, path string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	archive := tar.NewReader(bytes.NewReader(read(t, path)))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s has the time %v, want the epoch", header.Name, header.ModTime)
		}
		data, err := io.ReadAll(archive)
		target := filepath.Join(dir, filepath.FromSlash(header.Name))
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(target), 0o700), os.WriteFile(target, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("index.json names %v (%v), want one index", manifest, err)
	}
	if diff := cmp.Diff(map[string]string{
		"io.containerd.image.name": "docker.io/library/tienda:1.2.3", "org.opencontainers.image.ref.name": "1.2.3",
	}, manifest.Manifests[0].Annotations); diff != "" {
		t.Errorf("names in the archive (-want +got):\n%s", diff)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func pull(t *testing.T, place string) v1.ImageIndex {
	t.Helper()
	reference, err := name.ParseReference(place)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(reference, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return index
}

type extracted struct {
	header *tar.Header
	data   []byte
}

// extract is the file system of an image, and how many bytes its files have.
func extract(t *testing.T, image v1.Image) (map[string]extracted, int64) {
	t.Helper()
	stream := mutate.Extract(image)
	defer stream.Close()
	files, size := map[string]extracted{}, int64(0)
	archive := tar.NewReader(stream)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, size
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		path := header.Name
		if header.Typeflag == tar.TypeDir {
			path = strings.TrimSuffix(path, "/") + "/"
		}
		files[path] = extracted{header, data}
		size += header.Size
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
