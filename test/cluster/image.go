package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// goImage is an image of one static program and nothing else.
type goImage struct {
	program string
	user    string
}

// goImages are those of the cluster. It has one program of its own, as the pause of each pod and, with an argument,
// as whom the tests of the network policies ask.
func goImages() []goImage {
	return []goImage{
		{"pause", "65535:65535"},
		{"probe", "65532:65532"},
		{"s3", "65532:65532"},
		{"coredns", ""},
		{"metrics-server", "65532:65532"},
		{"certmanager", "65532:65532"},
		{"acmesolver", "65532:65532"},
		{"pebble", "65532:65532"},
	}
}

// imageName is what an image of ours is called in the cluster: no registry has this name, so nothing can be pulled.
func imageName(name string) string { return "localhost/" + name + ":test" }

// archive is where an image is in the cache.
func (c cluster) archive(name string) string { return filepath.Join(c.cache, "image", name+".tar") }

// images makes the images that are not in the cache.
func (c cluster) images(ctx context.Context) error {
	for _, i := range goImages() {
		key, err := sum([]string{i.user}, c.program(i.program))
		if err != nil {
			return err
		}
		err = c.make(c.archive(i.program), key, func(path string) error { return c.goImage(i, path) })
		if err != nil {
			return fmt.Errorf("image %s: %w", i.program, err)
		}
	}
	files := []string{filepath.Join(c.source, "mariadb", "entrypoint.sh"), filepath.Join(c.source, "mariadb", "my.cnf")}
	key, err := sum(mariadbRecipe(), files...)
	if err != nil {
		return err
	}
	if err := c.make(c.archive("mariadb"), key, func(path string) error { return c.mariadb(ctx, files, path) }); err != nil {
		return fmt.Errorf("image mariadb: %w", err)
	}
	if key, err = sum(nginxRecipe(), c.program("nginx")); err != nil {
		return err
	}
	if err := c.make(c.archive("nginx"), key, func(path string) error { return c.nginx(ctx, path) }); err != nil {
		return fmt.Errorf("image nginx: %w", err)
	}
	return nil
}

// goImage writes the image of one program.
func (c cluster) goImage(i goImage, path string) error {
	data, err := os.ReadFile(c.program(i.program))
	if err != nil {
		return err
	}
	top, err := layer(file{"/tmp", tar.TypeDir, 0o1777, nil}, file{"/" + i.program, tar.TypeReg, 0o555, data})
	if err != nil {
		return err
	}
	return write(path, i.program, v1.Config{User: i.user, Entrypoint: []string{"/" + i.program}, WorkingDir: "/"}, top)
}

// recipe is how mmdebstrap makes the files of an image: packages of Debian, without some folders and without what is for people to
// read. They are unpacked and not set up, since nothing in an image needs what their scripts do to a machine.
func recipe(packages string, without ...string) []string {
	var folders strings.Builder
	for _, f := range append(without, "usr/share/doc", "usr/share/man", "usr/share/locale") {
		folders.WriteString(` "$1"/` + f)
	}
	return []string{
		"--quiet", "--variant=extract", "--format=tar", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
		"--include=" + packages, "--extract-hook=rm -rf" + folders.String(),
	}
}

// mariadbRecipe is that of the image that stands in for mysql:8.4: Debian's server and client, and what scripts need that run in
// that image; one of the scripts that are not run would have made /bin/sh.
func mariadbRecipe() []string {
	return append(recipe("mariadb-server-core,mariadb-client,bash,coreutils,sed,grep,gawk,findutils,gzip,hostname,tzdata",
		"usr/share/perl", "usr/lib/*/perl", "etc/mysql"), `--extract-hook=ln -s bash "$1"/usr/bin/sh`)
}

// nginxRecipe is that of the image that stands in for F5's controller.
func nginxRecipe() []string {
	return recipe("nginx-light", "usr/share/perl", "usr/lib/*/perl", "etc/nginx")
}

// unpack is a layer of what a recipe makes. It is read when the image is written; then done takes it away.
func (c cluster) unpack(ctx context.Context, path string, recipe []string) (unpacked v1.Layer, done func(), err error) {
	root := path + ".root"
	done = func() { _ = os.Remove(root) } // the cache has the image, which holds it
	if err := c.command(ctx, "mmdebstrap", append(recipe, "bookworm", root)...); err != nil {
		return nil, done, err
	}
	unpacked, err = tarball.LayerFromFile(root)
	return unpacked, done, err
}

// mariadb writes an image of Debian's MariaDB that is started and set up as the image of MySQL is: by the same
// variables, the same folders and the same names of programs.
func (c cluster) mariadb(ctx context.Context, files []string, path string) error {
	bottom, done, err := c.unpack(ctx, path, mariadbRecipe())
	defer done()
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	settings, err := os.ReadFile(files[1])
	if err != nil {
		return err
	}
	top, err := layer(
		file{"/etc/passwd", tar.TypeReg, 0o444, []byte("root:x:0:0:root:/root:/bin/bash\nmysql:x:999:999:mysql:/var/lib/mysql:/bin/bash\n")},
		file{"/etc/group", tar.TypeReg, 0o444, []byte("root:x:0:\nmysql:x:999:\n")},
		file{"/etc/mysql", tar.TypeDir, 0o755, nil},
		file{"/etc/mysql/my.cnf", tar.TypeReg, 0o444, settings},
		file{"/etc/mysql/conf.d", tar.TypeDir, 0o755, nil},
		file{"/docker-entrypoint-initdb.d", tar.TypeDir, 0o755, nil},
		file{"/usr/local/bin/docker-entrypoint.sh", tar.TypeReg, 0o555, entry},
	)
	if err != nil {
		return err
	}
	config := v1.Config{User: "999:999", Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"mysqld"}, WorkingDir: "/",
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}}
	return write(path, "mariadb", config, bottom, top)
}

// nginx writes an image of Debian's NGINX that the program entry/nginx runs.
func (c cluster) nginx(ctx context.Context, path string) error {
	bottom, done, err := c.unpack(ctx, path, nginxRecipe())
	defer done()
	if err != nil {
		return err
	}
	controller, err := os.ReadFile(c.program("nginx"))
	if err != nil {
		return err
	}
	top, err := layer(file{"/nginx", tar.TypeReg, 0o555, controller})
	if err != nil {
		return err
	}
	return write(path, "nginx", v1.Config{User: "101:101", Entrypoint: []string{"/nginx"}, WorkingDir: "/"}, bottom, top)
}

// file is one entry of a layer.
type file struct {
	path string
	kind byte
	mode int64
	data []byte
}

// layer is one of files, all of them root's.
func layer(files ...file) (v1.Layer, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for _, f := range files {
		header := &tar.Header{Name: strings.TrimPrefix(f.path, "/"), Typeflag: f.kind, Mode: f.mode, Size: int64(len(f.data)), ModTime: time.Unix(0, 0)}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil })
}

// write writes an archive of an image for this machine.
func write(path, title string, config v1.Config, layers ...v1.Layer) error {
	tag, err := name.NewTag(imageName(title))
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return err
	}
	all, err := image.ConfigFile()
	if err != nil {
		return err
	}
	all = all.DeepCopy()
	all.OS, all.Architecture, all.Config = "linux", architecture, config
	image, err = mutate.ConfigFile(image, all)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(path, tag, image)
}
