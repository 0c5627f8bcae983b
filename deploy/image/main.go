// Command image builds the container image of tienda with the go command alone: no Docker, no base image,
// no registry.
//
// The image holds the program, the root certificates of Mozilla, Go's time zones, and a user that is not
// root. It is written as an OCI archive for every platform, with a bill of materials (CycloneDX) of each
// platform's program beside it, and may be pushed. The same commit and the same Go give the same bytes,
// wherever and whenever it is built.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/CycloneDX/cyclonedx-gomod/pkg/generate/bin"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// The user that the program runs as, and where it finds what the image holds.
const (
	userID    = 65532 // "nonroot", as in the distroless images
	home      = "/var/lib/tienda"
	zones     = "/usr/share/zoneinfo.zip"
	platforms = "linux/amd64,linux/arm64"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// build is one image to be made.
type build struct {
	source    string // the root of the repository
	version   string
	created   time.Time
	name      string // with its tag, as "tienda:1.0"
	out       string // the archive
	push      string // a reference in a registry, or ""
	platforms []string
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	b := build{}
	flags.StringVar(&b.source, "source", "..", "root of the repository")
	flags.StringVar(&b.version, "version", "", "what the program says of itself, and the tag of the image")
	flags.StringVar(&b.name, "name", "tienda", "name of the image in the archive")
	flags.StringVar(&b.out, "o", "tienda.oci.tar", "archive to write; the bills of materials are written beside it")
	flags.StringVar(&b.push, "push", "", "also push to this place, such as registry.digitalocean.com/SHOP/tienda:1.0, with Docker's credentials")
	created := flags.Int64("created", 0, "seconds since 1970 that the image says it was made at: those of the commit")
	list := flags.String("platforms", platforms, "for which machines")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.version == "" {
		return errors.New("-version is missing: make image takes that of the commit")
	}
	b.name += ":" + b.version
	b.created = time.Unix(*created, 0).UTC()
	b.platforms = strings.Split(*list, ",")
	return b.run(ctx, out)
}

func (b build) run(ctx context.Context, out io.Writer) error {
	work, err := os.MkdirTemp("", "tienda-image-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // a leftover in the temporary folder hurts nobody
	if err := os.MkdirAll(filepath.Dir(b.out), 0o755); err != nil {
		return err
	}
	base, err := b.base(ctx)
	if err != nil {
		return err
	}
	var index v1.ImageIndex = empty.Index
	for _, text := range b.platforms {
		platform, err := v1.ParsePlatform(text)
		if err != nil {
			return fmt.Errorf("platform %q: %w", text, err)
		}
		program := filepath.Join(work, platform.Architecture, "tienda")
		if err := b.compile(ctx, *platform, program); err != nil {
			return err
		}
		image, err := b.image(*platform, base, program)
		if err != nil {
			return fmt.Errorf("image for %s: %w", platform, err)
		}
		bill := strings.TrimSuffix(b.out, ".oci.tar") + "." + strings.ReplaceAll(platform.String(), "/", "-") + ".cdx.json"
		if err := b.bill(program, bill); err != nil {
			return fmt.Errorf("bill of materials for %s: %w", platform, err)
		}
		fmt.Fprintln(out, "bill of materials", bill)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	if err := b.archive(index, filepath.Join(work, "layout")); err != nil {
		return fmt.Errorf("write %s: %w", b.out, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "image             %s\n%s  %s\n", b.out, b.name, digest)
	if b.push == "" {
		return nil
	}
	reference, err := name.ParseReference(b.push)
	if err != nil {
		return err
	}
	if err := remote.WriteIndex(reference, index, remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push to %s: %w", reference, err)
	}
	fmt.Fprintf(out, "pushed            %s@%s\n", reference.Context(), digest)
	return nil
}

// compile makes the program as "make build" does. What the commit is called is said by the linker alone, so
// that a source tree without its history gives the same program.
func (b build) compile(ctx context.Context, platform v1.Platform, program string) error {
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X tienda/kit.version="+b.version, "-o", program, "./cmd/tienda")
	command.Dir = b.source
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOOS="+platform.OS, "GOARCH="+platform.Architecture,
		"GOAMD64=v1", "GOARM64=v8.0")
	if text, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("compile for %s: %w\n%s", platform, err, text)
	}
	return nil
}

// base is the layer that all platforms share.
func (b build) base(ctx context.Context) (v1.Layer, error) {
	var certificates bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // trusted for old certificates only, which a file of roots cannot say
		}
		if err := pem.Encode(&certificates, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	zoneinfo, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(goroot)), "lib/time/zoneinfo.zip"))
	if err != nil {
		return nil, fmt.Errorf("time zones: %w", err)
	}
	id := strconv.Itoa(userID)
	return layer([]file{
		{path: "/etc/passwd", mode: 0o444, data: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:" + id + ":" + id + ":nonroot:" + home + ":/sbin/nologin\n")},
		{path: "/etc/group", mode: 0o444, data: []byte("root:x:0:\nnonroot:x:" + id + ":\n")},
		{path: "/etc/ssl/certs/ca-certificates.crt", mode: 0o444, data: certificates.Bytes()},
		{path: zones, mode: 0o444, data: zoneinfo},
		{path: "/tmp", mode: fs.ModeDir | 0o777 | fs.ModeSticky},
		{path: home, mode: fs.ModeDir | 0o700, owner: userID},
	})
}

// image is the program on top of the base.
func (b build) image(platform v1.Platform, base v1.Layer, program string) (v1.Image, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	top, err := layer([]file{{path: "/tienda", mode: 0o555, data: data}})
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	history := func(by string) v1.History { return v1.History{Created: v1.Time{Time: b.created}, CreatedBy: by} }
	image, err = mutate.Append(image,
		mutate.Addendum{Layer: base, History: history("root certificates, time zones, a user"), MediaType: types.OCILayer},
		mutate.Addendum{Layer: top, History: history("tienda " + b.version), MediaType: types.OCILayer})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Created = v1.Time{Time: b.created}
	config.Config = v1.Config{
		Entrypoint: []string{"/tienda"},
		User:       fmt.Sprintf("%d:%d", userID, userID),
		WorkingDir: home,
		Env: []string{
			"SERVER_ADDRESS=0.0.0.0", // in a container only the container's own network can reach it
			"ZONEINFO=" + zones,
		},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "tienda",
			"org.opencontainers.image.version":  b.version,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(image, config)
}

// file is one entry of a layer.
type file struct {
	path  string
	mode  fs.FileMode
	owner int
	data  []byte
}

// layer is a layer of files and the folders above them. Times are those of the epoch, so that a layer is
// the same as long as its files are.
func layer(files []file) (v1.Layer, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	made := map[string]bool{}
	var add func(f file) error
	add = func(f file) error {
		if made[f.path] || f.path == "/" {
			return nil
		}
		made[f.path] = true
		if err := add(file{path: filepath.Dir(f.path), mode: fs.ModeDir | 0o755}); err != nil {
			return err
		}
		header := &tar.Header{
			Name: strings.TrimPrefix(f.path, "/"), Typeflag: tar.TypeReg, Mode: int64(f.mode.Perm()),
			Uid: f.owner, Gid: f.owner, Size: int64(len(f.data)), ModTime: time.Unix(0, 0),
		}
		if f.mode.IsDir() {
			header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		}
		if f.mode&fs.ModeSticky != 0 {
			header.Mode |= 0o1000
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := archive.Write(f.data)
		return err
	}
	for _, f := range files {
		if err := add(f); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	data := buffer.Bytes()
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		tarball.WithCompressionLevel(9), tarball.WithMediaType(types.OCILayer))
}

// bill writes which modules a program was made of.
func (b build) bill(program, path string) error {
	generator, err := bin.NewGenerator(program, bin.WithIncludeStdlib(true), bin.WithVersionOverride(b.version), bin.WithLogger(zerolog.Nop()))
	if err != nil {
		return err
	}
	bill, err := generator.Generate()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	// GitHub's attestations take no bill without a number. It is the program's, so that the same program has the same bill.
	bill.SerialNumber = uuid.NewSHA1(uuid.NameSpaceOID, data).URN()
	var text bytes.Buffer
	if err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bill); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// archive writes the index and everything below it as one file: the OCI layout, in a tar. containerd takes
// the image's name from the first annotation, podman and skopeo from the second. A kubelet that is asked for
// tienda:1.0 looks for docker.io/library/tienda:1.0; only this library calls that registry index.docker.io.
func (b build) archive(index v1.ImageIndex, folder string) error {
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	reference, err := name.ParseReference(b.name)
	if err != nil {
		return err
	}
	err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          strings.TrimPrefix(reference.Name(), "index."),
		"org.opencontainers.image.ref.name": reference.Identifier(),
	}))
	if err != nil {
		return err
	}
	out, err := os.Create(b.out)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		inside, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(inside), Typeflag: tar.TypeReg, Mode: 0o444, Size: int64(len(data)), ModTime: time.Unix(0, 0)}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = archive.Write(data)
		return err
	})
	return errors.Join(err, archive.Close(), out.Close())
}
