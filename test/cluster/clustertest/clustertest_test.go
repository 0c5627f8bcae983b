package clustertest

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadmeNamesTheImages: whoever has a cluster of their own is told of every image that they have to bring.
func TestReadmeNamesTheImages(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, image := range images() {
		want = append(want, variable(image))
	}
	told := regexp.MustCompile(`TIENDA_TEST_IMAGE_[A-Z0-9_]+`).FindAllString(string(text), -1)
	slices.Sort(told)
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Compact(told)); diff != "" {
		t.Errorf("test/cluster/README.md names other images than tests ask for (-asked +told):\n%s", diff)
	}
}
