// Command pack packs a chart as Helm does, and may push it to a registry. The same chart, version and time give the same bytes, and so the
// same digest, wherever it is packed. A version that was pushed once is not replaced by another chart.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/registry"
	"oras.land/oras-go/v2/errdef"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("pack", flag.ContinueOnError)
	folder := flags.String("chart", "", "folder of the chart")
	version := flags.String("version", "", "version of the program that the chart is for")
	created := flags.Int64("created", 0, "seconds since 1970 that the archive says it was made at: those of the commit")
	to := flags.String("o", ".", "folder that the archive is written to")
	push := flags.String("push", "", "also push below this place, such as ghcr.io/SHOP/tienda/charts, with Docker's credentials")
	plain := flags.Bool("plain", false, "push over HTTP, to a registry on this machine")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *folder == "" || *version == "" {
		return errors.New("-chart or -version is missing: make package gives both")
	}
	chart, err := loader.LoadDir(*folder)
	if err != nil {
		return fmt.Errorf("read %s: %w", *folder, err)
	}
	chart.Metadata.AppVersion = *version
	at := time.Unix(*created, 0).UTC()
	chart.StampModTimes(at)
	archive, err := util.Save(chart, *to)
	if err != nil {
		return fmt.Errorf("pack %s: %w", *folder, err)
	}
	fmt.Fprintf(out, "chart             %s, for %s\n", filepath.Clean(archive), *version)
	if *push == "" {
		return nil
	}
	data, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	options := []registry.ClientOption{registry.ClientOptWriter(io.Discard)}
	if *plain {
		options = append(options, registry.ClientOptPlainHTTP())
	}
	client, err := registry.NewClient(options...)
	if err != nil {
		return err
	}
	place := strings.TrimSuffix(*push, "/") + "/" + chart.Name()
	digest, err := publish(client, data, place, chart.Metadata.Version, at)
	if err != nil {
		return fmt.Errorf("push %s:%s: %w", place, chart.Metadata.Version, err)
	}
	fmt.Fprintf(out, "pushed            %s@%s\n", place, digest)
	return nil
}

// publish pushes a chart unless it is there, and returns its digest.
func publish(client *registry.Client, data []byte, place, version string, at time.Time) (string, error) {
	reference := place + ":" + version
	_, err := client.Resolve(reference)
	switch {
	case err == nil:
		there, err := client.Pull(reference)
		if err != nil {
			return "", err
		}
		if !bytes.Equal(there.Chart.Data, data) {
			return "", errors.New("another chart has this version there; raise version in Chart.yaml")
		}
		return there.Manifest.Digest, nil
	case !errors.Is(err, errdef.ErrNotFound):
		return "", err
	}
	pushed, err := client.Push(data, reference, registry.PushOptCreationTime(at.Format(time.RFC3339)))
	if err != nil {
		return "", err
	}
	return pushed.Manifest.Digest, nil
}
